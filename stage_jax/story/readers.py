"""Stories from files: story.json (ours, StoryMem's or ViStoryBench's), or a Fountain screenplay."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from stage_jax.errors import InputError
from stage_jax.files import is_inside
from stage_jax.story.fountain import parse_fountain
from stage_jax.story.schema import shortened
from stage_jax.story.storymem import from_storymem, is_storymem
from stage_jax.story.tables import listed_once
from stage_jax.story.types import Story, story_from_json
from stage_jax.story.vistorybench import from_vistorybench, is_vistorybench

LARGEST_FILE = 64 * 2**20  # bytes; 10,000 shots take about 10 MiB


def read_story(path: str | Path, captions: bool = True) -> Story:
    """The story in `path`, a .json or a .fountain file. captions: as `story_from_json`.

    Raises InputError, one line with the file and the place in it, if there is none to be had.
    """
    path = Path(path)
    readers = {".json": functools.partial(_from_json, captions=captions), ".fountain": parse_fountain}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: found a file called '*{path.suffix}', expected *.json or *.fountain")
    story = reader(read_text(path), str(path))
    _check_pictures(story, path)
    return story


def _from_json(text: str, file: str, captions: bool) -> Story:
    value = _parsed(text, file)
    if is_storymem(value):
        return from_storymem(value, file)
    return from_vistorybench(value, file) if is_vistorybench(value) else story_from_json(value, file, captions)


def read_text(path: Path) -> str:
    """The file as text, its byte order mark removed. InputError, naming the line, for what is no text in UTF-8."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a story") from None
    if len(data) > LARGEST_FILE:
        raise InputError(f"{path}: larger than {LARGEST_FILE >> 20} MiB, expected a story")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputError(f"{path}:1: text in UTF-16, expected UTF-8 (save the file with that encoding)")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        found = "no text" if b"\0" in data else f"byte 0x{data[error.start]:02x}, which is no UTF-8"
        raise InputError(f"{path}:{line}: found {found}, expected text in UTF-8") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise InputError(f"{path}:{line}: found no text, expected text in UTF-8")
    return text


def _parsed(text: str, file: str) -> Any:
    """JSON, without its extensions: no NaN, and no key twice in an object."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in items:
            if key in found:
                raise InputError(f"{file}: the key '{shortened(key)}' stands twice in one object, expected it once")
            found[key] = value
        return found

    def constant(name: str) -> Any:
        raise InputError(f"{file}: found {name}, expected a number that JSON knows")

    try:
        return json.loads(text, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        problem = error.msg[:1].lower() + error.msg[1:]
        raise InputError(f"{file}:{error.lineno}:{error.colno}: not JSON: {problem}") from None
    except (RecursionError, ValueError):  # nested, or a number written, beyond what Python takes
        raise InputError(f"{file}: JSON nested too deeply or with a number too long, expected a story") from None


def _check_pictures(story: Story, path: Path) -> None:
    """Every picture that the story names is a file in its folder, links followed."""
    folder = path.parent.resolve()
    named = story.pictures()
    outside = [name for name in named if not is_inside(folder / name, folder)]
    if outside:
        raise InputError(f"{path}: the picture {shortened(outside[0])} leads out of {folder}, expected one inside")
    missing = [name for name in dict.fromkeys(named) if not (folder / name).is_file()]
    if missing:
        raise InputError(f"{path}: no such picture in {folder}: {listed_once(missing)}")
