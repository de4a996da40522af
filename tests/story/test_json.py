"""story.json: what is written comes back, and every broken value is named with its place."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from stage_jax.errors import InputError
from stage_jax.story import checks
from stage_jax.story.readers import read_story
from stage_jax.story.types import Character, Frame, Location, Scene, Shot, Story, story_from_json, story_to_json

STORY = Story(
    title="The Hat",
    overview="A hat <b>is</b> lost & found: ü 帽.",
    fps=24000 / 1001,
    aspect="16:9",
    characters=(Character("mia", "Mia", "a red circle", "non_human", ("refs/mia.png",)), Character("tom", "Tom")),
    locations=(Location("beach", "Beach", "sand"),),
    scenes=(
        Scene(
            "SC01",
            "EXT. BEACH - DAY",
            "beach",
            (
                Shot("SH010", "Mia waits.", characters=("mia",), seed=7, locked=True, start=Frame("left", "a.png")),
                Shot("SH020", "Tom comes.", cut=False, seconds=2.5, characters=("tom", "mia"), dialogue="Mia: Ah!"),
            ),
        ),
        Scene("SC02", shots=(Shot("SH010", "Both leave."),)),
    ),
)


def broken(path: str, value: Any) -> dict[str, Any]:
    """The story's JSON with the value at `path` (scenes.0.shots.1.seconds) replaced, or removed if it is `...`."""
    whole = node = story_to_json(STORY)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return whole


def message(value: Any) -> str:
    with pytest.raises(InputError) as caught:
        story_from_json(value, "story.json")
    text = str(caught.value)
    assert "\n" not in text and text.startswith("story.json: ") and len(text) < 400
    return text


def test_a_story_comes_back() -> None:
    written = story_to_json(STORY)
    assert story_from_json(json.loads(json.dumps(written)), "x") == STORY
    assert written["scenes"][0]["shots"][0]["start"] == {"prompt": "left", "image": "a.png"}
    assert [STORY.shot_name(*both) for both in STORY.shots()] == ["SC01_SH010", "SC01_SH020", "SC02_SH010"]


def test_defaults_fill_what_is_left_out() -> None:
    small = {"title": "T", "scenes": [{"id": "SC01", "shots": [{"id": "SH010", "description": "d", "seconds": 3}]}]}
    assert story_from_json(small, "x") == Story("T", scenes=(Scene("SC01", shots=(Shot("SH010", "d", seconds=3.0),)),))


@pytest.mark.parametrize(
    ("written", "meant"), [(True, True), (False, False), ("True", True), ("False", False), ("true", True)]
)
def test_cut_may_be_a_string(written: bool | str, meant: bool) -> None:
    assert story_from_json(broken("scenes.0.shots.0.cut", written), "x").scenes[0].shots[0].cut is meant


CASES = [
    ("title", ..., "the top level: found no 'title'"),
    ("title", 3, "title: found the number 3, expected a string"),
    ("title", 1, "title: found the number 1, expected a string"),
    ("title", True, "title: found true, expected a string"),
    ("title", "a\0b", "title: found a character that is no text"),
    ("title", "\ud800", "title: found a character that is no text"),
    ("overview", "x" * 20_001, "overview: found a string of 20,001 characters, expected at most 20,000"),
    ("fps", 0, "fps: found the number 0.0, expected frames a second"),
    ("fps", 0.999, "fps: found the number 0.999, expected frames a second, from 1 to 120"),
    ("fps", "24", 'fps: found the string "24", expected a number'),
    ("fps", 10**400, "fps: found a huge number, expected a finite number"),
    ("aspect", "wide", 'aspect: found the string "wide", expected width:height'),
    ("aspect", "16:0", "aspect: found"),
    ("scenes", {}, "scenes: found an object, expected a list"),
    ("scenes", [], "scenes: found 0 shots in all, expected 1 to 10,000"),
    ("sceness", [], "sceness: found an unknown key, expected 'scenes'"),
    ("zzz", 1, "zzz: found an unknown key, expected one of title, overview"),
    ("characters.1.id", "mia", 'characters[1].id: found the string "mia" again, expected another id'),
    ("characters.0.id", " ", "characters[0].id: found"),
    ("locations.0", "beach", 'locations[0]: found the string "beach", expected an object'),
    ("scenes.0.location", "beech", "scenes[0].location: found the string \"beech\", expected the id of a location: '"),
    ("scenes.1.id", "SC01", "scenes[1].id: found"),
    ("scenes.0.id", "../x", "scenes[0].id: found"),
    ("scenes.0.shots.1.id", "SH010", "scenes[0].shots[1].id: found a second shot called SC01_SH010"),
    ("scenes.0.shots.1.id", "sh010", "scenes[0].shots[1].id: found a second shot called SC01_sh010"),
    ("scenes.0.shots.1.id", "a/b", "scenes[0].shots[1].id: found"),
    ("scenes.0.shots.1.id", ..., "scenes[0].shots[1]: found no 'id'"),
    ("scenes.1.shots.0.description", 5, "scenes[1].shots[0].description: found the number 5, expected a string"),
    ("scenes.1.shots.0.description", None, "scenes[1].shots[0].description: found null, expected a string"),
    ("scenes.1.shots.0.description", " \n", "scenes[1].shots[0].description: found"),
    ("scenes.1.shots.0.descripton", "x", "scenes[1].shots[0].descripton: found an unknown key, expected 'description'"),
    ("scenes.0.shots.0.cut", "yes", "scenes[0].shots[0].cut: found"),
    ("scenes.0.shots.0.cut", 1, "scenes[0].shots[0].cut: found the number 1, expected true or false"),
    ("scenes.0.shots.0.characters", "mia", 'scenes[0].shots[0].characters: found the string "mia", expected a list'),
    ("scenes.0.shots.0.characters.0", "maia", "expected the id of a character: 'mia'"),
    ("scenes.0.shots.1.characters.1", "tom", 'scenes[0].shots[1].characters[1]: found the string "tom" again'),
    ("scenes.0.shots.0.seconds", -1, "scenes[0].shots[0].seconds: found the number -1.0"),
    ("scenes.0.shots.0.seconds", 1e9, "scenes[0].shots[0].seconds: found"),
    ("scenes.0.shots.0.seconds", None, "scenes[0].shots[0].seconds: found null, expected a number"),
    ("scenes.0.shots.0.seed", 1.5, "scenes[0].shots[0].seed: found the number 1.5, expected a whole number"),
    ("scenes.0.shots.0.seed", -1, "scenes[0].shots[0].seed: found the number -1"),
    ("scenes.0.shots.0.seed", True, "scenes[0].shots[0].seed: found true, expected a whole number"),
    ("scenes.0.shots.0.start", "left", "scenes[0].shots[0].start: found"),
    ("scenes.0.shots.0.end.picture", "x", "shots[0].end.picture: found an unknown key, expected one of prompt"),
]
OUTSIDE = ["/etc/passwd", "../a.png", "a/../../b.png", "C:\\a.png", "C:a.png", "\\\\host\\a", "..\\a", "~/a.png", "."]
PICTURES = ["characters.0.references.0", "scenes.0.shots.0.start.image", "scenes.1.shots.0.end.image"]


@pytest.mark.parametrize(("path", "value", "expected"), CASES)
def test_what_is_wrong_is_named(path: str, value: Any, expected: str) -> None:
    assert expected in message(broken(path, value))


@pytest.mark.parametrize("path", PICTURES)
@pytest.mark.parametrize("value", [*OUTSIDE, "x" * 251])
def test_pictures_stay_in_the_folder(path: str, value: str) -> None:
    where = re.sub(r"\.(\d+)", r"[\1]", path)
    assert f"{where}: found" in message(broken(path, value))


@pytest.mark.parametrize("value", [None, 3, "story", [], True])
def test_a_story_is_an_object(value: Any) -> None:
    assert "the top level: found" in message(value)


def test_every_value_of_the_wrong_type_is_refused() -> None:
    """Whatever stands anywhere, another JSON type in its place gives one line that begins with that place."""
    whole = story_to_json(STORY)
    tried = 0

    def visit(node: Any, path: str, put: Any) -> None:
        nonlocal tried
        for wrong in ({}, [[]], 1.25, None, "\0"):
            number, seed = isinstance(node, float) and wrong == 1.25, path.endswith(".seed") and wrong is None
            if number or seed or (path.endswith(("start", "end")) and wrong == {}):
                continue  # these are right
            put(wrong)
            assert path in message(whole)
            tried += 1
        put(node)
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, item in list(items):
            below = f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}".lstrip(".")
            visit(item, below, lambda value, key=key: node.__setitem__(key, value))

    for key in list(whole):
        visit(copy.deepcopy(whole[key]), key, lambda value, key=key: whole.__setitem__(key, value))
    assert tried > 300


def test_shots_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.MOST_SHOTS == 10_000
    monkeypatch.setattr(checks, "MOST_SHOTS", 20)
    shots = [{"id": f"S{i}", "description": "d"} for i in range(21)]
    assert "21 shots in all, expected 1 to 20" in message({"title": "T", "scenes": [{"id": "A", "shots": shots}]})
    story = story_from_json({"title": "T", "scenes": [{"id": "A", "shots": shots[1:]}]}, "x")
    assert len(list(story.shots())) == 20


BYTES = [
    (b"", ":1:1: not JSON: expecting value"),
    (b'{"title": "T",\n  "scenes": [}', ":2:14: not JSON"),
    (b'{"title": "T"} x', ":1:16: not JSON: extra data"),
    (b'{"title": "T", "fps": NaN}', ": found NaN"),
    (b'{"title": "T", "title": "U"}', "the key 'title' stands twice"),
    (b'{"title": "T\xff"}', ":1: found byte 0xff"),
    (b"\n\n\x89PNG\r\n\x1a\n\0\0", ":3: found no text"),
    (b"\xff\xfe{\0", ":1: text in UTF-16"),
    (b'{"title": "\0"}', ":1: found no text"),
    (b"[" * 100_000, "nested too deeply"),
    (b'{"fps": ' + b"1" * 10_000 + b"}", "number too long"),
]


@pytest.mark.parametrize(("data", "expected"), BYTES)
def test_files_that_hold_no_story(data: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "story.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_story(path)
    assert str(caught.value).startswith(str(path)) and expected in str(caught.value)


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "story.json"
    for name in ("refs/mia.png", "a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps(story_to_json(STORY)).encode())
    assert read_story(path) == STORY


def test_pictures_have_to_be_there_and_inside(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    path = inside / "story.json"
    path.write_text(json.dumps(story_to_json(STORY)))
    with pytest.raises(InputError, match=r"no such picture in .*: refs/mia.png, a.png"):
        read_story(path)
    (tmp_path / "a.png").write_bytes(b"")
    (inside / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a.png leads out of"):
        read_story(path)


@pytest.mark.parametrize(
    ("name", "expected"), [("no.json", "No such file"), ("a.txt", r"\*\.json"), ("dir.json", "directory")]
)
def test_files_that_cannot_be_read(name: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "dir.json").mkdir()
    with pytest.raises(InputError, match=expected):
        read_story(tmp_path / name)
