"""What a story in another format says and ours has no place for: JSON text in `extra`, which that format's writer puts back."""

from __future__ import annotations

import json
from typing import Any

from stage_jax.story.schema import Place, described

ABSENT = "(absent)"  # the key under which the missing keys are kept
KINDS = {str: "a string", int: "a whole number", dict: "an object", list: "a list"}


class Taken:
    """A JSON object of another format, whose keys are taken out one by one; `left` is what nobody took."""

    def __init__(self, value: Any, place: Place) -> None:
        if not isinstance(value, dict):
            raise place.error(described(value), "an object")
        self.rest, self.place, self.absent = dict(value), place, list[str]()

    def take(self, key: str, kind: type, default: Any = ...) -> Any:
        """The value of a key: a str, int, dict or list; `default` stands in for one that is missing. InputError if it is of
        another type, or missing without a default."""
        if key not in self.rest:
            if default is ...:
                raise self.place.error(f"no {key!r}", f"an object with {key!r}")
            self.absent.append(key)
            return default
        value = self.rest.pop(key)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self.place.key(key).error(described(value), KINDS[kind])
        return value

    def left(self) -> dict[str, Any]:
        """What `put_back` needs beside the values taken."""
        return self.rest | ({ABSENT: self.absent} if self.absent else {})


def put_back(values: dict[str, Any], left: dict[str, Any]) -> dict[str, Any]:
    """The object that these values were taken from."""
    absent = left.get(ABSENT, [])
    return {key: value for key, value in (values | left).items() if key != ABSENT and (key not in absent or key in left)}


def keep(name: str, left: dict[str, Any]) -> str:
    """The `extra` of a part of a story that was read from the format `name`."""
    return json.dumps({name: left}, ensure_ascii=False) if left else ""


def kept(extra: str, name: str) -> dict[str, Any]:
    """What `keep` kept for the format `name`; empty if there is nothing of it."""
    return json.loads(extra).get(name, {}) if extra else {}
