"""Tables of examples from outside: csv, json or jsonl with the column names that trainers of video models use."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage_jax.errors import InputError
from stage_jax.story.checks import check_path
from stage_jax.story.schema import Place, described

LARGEST_TABLE = 4 << 30  # bytes
NAMED = 8  # columns that one line lists

ALIASES: Mapping[str, tuple[str, ...]] = {
    "prompt": ("prompt", "caption", "cap"),
    "video": ("video", "video_path", "path"),
    "image": ("image", "image_path"),
    "video_chosen": ("video_chosen",),
    "video_rejected": ("video_rejected",),
    "image_chosen": ("image_chosen",),
    "image_rejected": ("image_rejected",),
}
"""Our name of a column, and those that it has: DiffSynth-Studio's, musubi-tuner's, finetrainers' and FastVideo's."""


@dataclass(frozen=True)
class Row:
    """One example. All but the prompt are paths, relative to the table's folder; empty where the table has none. The DPO form
    has `_chosen` and `_rejected`."""

    prompt: str = ""
    video: str = ""
    image: str = ""
    video_chosen: str = ""
    video_rejected: str = ""
    image_chosen: str = ""
    image_rejected: str = ""


def read_table(path: str | Path) -> tuple[list[Row], list[str]]:
    """The rows of a .csv, .json (a list, or an object with a list as `data`) or .jsonl file, and the columns that are not read.

    Raises InputError, naming the row, for what is no text, a path that leads out of the folder, or a column named twice."""
    path = Path(path)
    rows, unknown = [], dict[str, None]()
    ours = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
    for number, values in enumerate(read_rows(path), start=1):
        place = Place(str(path), f"row {number}")
        found: dict[str, str] = {}
        for column, value in values.items():
            name = ours.get(column)
            if name is None:
                unknown[column] = None
                continue
            if not isinstance(value, str):
                raise place.key(column).error(described(value), "a string")
            if name in found:
                raise place.key(column).error(f"a second column for {name!r}", "one")
            if name != "prompt" and value:
                check_path(value, place.key(column))
            found[name] = value
        if not found:
            expected = " or ".join(repr(aliases[0]) for aliases in ALIASES.values())
            raise place.error(f"none of the columns {expected}", "at least one")
        rows.append(Row(**found))
    return rows, sorted(unknown)


def listed_once(columns: Iterable[str]) -> str:
    """Names for one line, the first few of many."""
    columns = list(columns)
    more = f" and {len(columns) - NAMED:,} more" if len(columns) > NAMED else ""
    return ", ".join(columns[:NAMED]) + more


def read_json(path: Path, what: str) -> Any:
    """The JSON value of a file. InputError with the line if it is none; `what` is what was expected."""
    try:
        return json.loads(_text(path, what))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}:{error.lineno}: not JSON ({error.msg}), expected {what}") from None
    except (RecursionError, ValueError):
        raise InputError(f"{path}: JSON nested too deeply or with a number too long, expected {what}") from None


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a .csv, .json or .jsonl file as they are, JSON values by the names of their columns. Raises InputError."""
    if path.suffix == ".csv":
        yield from csv.DictReader(io.StringIO(_text(path, "a table")), restval="", restkey="(more than the header has)")
        return
    if path.suffix == ".jsonl":
        lines = [line for line in _text(path, "a table").splitlines() if line.strip()]
        values = [_line(path, number, line) for number, line in enumerate(lines, start=1)]
    elif path.suffix == ".json":
        values = read_json(path, "a table")
        values = values.get("data") if isinstance(values, dict) else values
    else:
        raise InputError(f"{path}: found a file called '*{path.suffix}', expected *.csv, *.json or *.jsonl")
    if not isinstance(values, list):
        raise InputError(f"{path}: found {described(values)}, expected a list of rows")
    for number, value in enumerate(values, start=1):
        if not isinstance(value, dict):
            raise Place(str(path), f"row {number}").error(described(value), "an object")
        yield value


def _line(path: Path, number: int, line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}:{number}: not JSON ({error}), expected an object") from None


def _text(path: Path, what: str) -> str:
    try:
        if path.stat().st_size > LARGEST_TABLE:
            raise InputError(f"{path}: larger than {LARGEST_TABLE >> 30} GiB, expected {what}")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected {what}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: found bytes that are no UTF-8, expected {what}") from None


