"""Frozen dataclasses out of JSON values, held to their annotations, with the place of what is wrong."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from stage_jax.errors import InputError

T = TypeVar("T")
LONGEST_TEXT = 20_000  # characters in one string of a story
SHOWN = 40  # characters of a wrong value that an error quotes


@dataclass(frozen=True)
class Place:
    """Where a value stands: the file, and the path to it in the JSON, such as scenes[1].shots[0].description."""

    file: str
    path: str = ""

    def key(self, name: str) -> Place:
        return Place(self.file, f"{self.path}.{name}" if self.path else name)

    def item(self, index: int) -> Place:
        return Place(self.file, f"{self.path}[{index}]")

    def error(self, found: str, expected: str) -> InputError:
        return InputError(f"{self.file}: {self.path or 'the top level'}: found {found}, expected {expected}")


def build(kind: type[T], value: Any, place: Place) -> T:
    """An instance of the dataclass `kind` from a JSON object with its field names.

    Raises InputError for anything that is not as annotated: unknown or missing keys, wrong types, strings too long.
    """
    if not isinstance(value, dict):
        raise place.error(described(value), "an object")
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for name in value:
        if name not in fields:
            raise place.key(shortened(name)).error("an unknown key", near(name, fields))
    required = [f.name for f in fields.values() if _is_required(f)]
    missing = [name for name in required if name not in value]
    if missing:
        raise place.error(f"no {', '.join(map(repr, missing))}", f"an object with {', '.join(map(repr, required))}")
    hints = _hints(kind)
    return kind(**{name: _value(hints[name], item, place.key(name)) for name, item in value.items()})


def near(word: str, known: Iterable[str]) -> str:
    """The known words that look like `word`, or all of them: "'size' or 'seed'"."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    return " or ".join(map(repr, close)) if close else f"one of {', '.join(known)}"


def described(value: Any) -> str:
    """A JSON value in words short enough for an error's line."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, str):
        return f"the string {shortened(json.dumps(value, ensure_ascii=False))}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    too_long = isinstance(value, int) and value.bit_length() > 1000  # Python refuses to print such numbers
    return "a huge number" if too_long else f"the number {shortened(repr(value))}"


def shortened(text: str) -> str:
    """On one line, quoted no longer than an error's line bears, and printable."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _value(hint: Any, value: Any, place: Place) -> Any:
    """`value` as `hint` asks: a dataclass, a tuple of something, something or None, str, bool, int or float."""
    if dataclasses.is_dataclass(hint):
        return build(hint, value, place)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise place.error(described(value), "a list")
        return tuple(_value(typing.get_args(hint)[0], item, place.item(i)) for i, item in enumerate(value))
    if typing.get_origin(hint) is types.UnionType:
        (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        return None if value is None else _value(inner, value, place)
    return {str: _text, bool: truth, int: _whole, float: _number}[hint](value, place)


def _text(value: Any, place: Place) -> str:
    if not isinstance(value, str):
        raise place.error(described(value), "a string")
    if len(value) > LONGEST_TEXT:
        raise place.error(f"a string of {len(value):,} characters", f"at most {LONGEST_TEXT:,}")
    if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
        raise place.error("a character that is no text (NUL or half of a surrogate pair)", "Unicode text")
    return value


def truth(value: Any, place: Place) -> bool:
    """Booleans, and the strings that StoryMem's description of its format speaks of."""
    words = {"true": True, "false": False}
    if isinstance(value, str) and value.lower() in words:
        return words[value.lower()]
    if not isinstance(value, bool):
        raise place.error(described(value), 'true or false (or "True" or "False")')
    return value


def _whole(value: Any, place: Place) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise place.error(described(value), "a whole number")
    return value


def _number(value: Any, place: Place) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise place.error(described(value), "a number")
    if (isinstance(value, int) and value.bit_length() > 1000) or not math.isfinite(value):
        raise place.error(described(value), "a finite number")
    return float(value)
