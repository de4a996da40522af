"""What a model may answer: JSON of one shape, a caption in plain words, attributes out of the vocabulary."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from stage_jax.story.schema import described
from stage_jax.story.vocabulary import VOCABULARY, in_vocabulary

LONGEST_CAPTION = 2_000  # characters; Wan's text encoder reads 512 tokens
LONGEST_ANSWER = 20_000  # characters of JSON, our choice: ten times a caption
UNKNOWN = "unknown"  # what a model answers where it cannot tell
_FENCE = re.compile(r"\s*```(?:json)?\s*(.*?)\s*```\s*", re.DOTALL)
_JOINERS = "‌‍"  # which Persian, Hindi and emoji are written with


class AnswerError(Exception):
    """An answer that cannot be taken, and why: what was found, what was expected. Asking again may help."""


def schema(attributes: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of an answer: a caption, and a word for each of `attributes` (keys of `VOCABULARY`)."""
    words = {name: {"type": "string", "enum": [*VOCABULARY[name], UNKNOWN]} for name in attributes}
    return {
        "type": "object",
        "properties": {"caption": {"type": "string"}, **words},
        "required": ["caption", *attributes],
        "additionalProperties": False,
    }


def read_answer(text: str, attributes: Sequence[str]) -> dict[str, str]:
    """`caption` and `attributes` of an answer, empty where the model does not know. Raises AnswerError."""
    value = _object(text)
    expected = ["caption", *attributes]
    if sorted(value) != sorted(expected):
        raise AnswerError(f"found the keys {_listed(value)}, expected {', '.join(expected)}")
    wrong = next((name for name in expected if not isinstance(value[name], str)), None)
    if wrong is not None:
        raise AnswerError(f"{wrong}: found {described(value[wrong])}, expected a string")
    return {"caption": plain_caption(value["caption"])} | {name: _word(name, value[name]) for name in attributes}


def plain_caption(text: str) -> str:
    """A caption on one line. Raises AnswerError on one that is empty, too long, or holds what no caption does: markup, links,
    invisible characters."""
    text = " ".join(unicodedata.normalize("NFC", text).split())
    if not text:
        raise AnswerError("found an empty caption, expected what the shot shows")
    if len(text) > LONGEST_CAPTION:
        raise AnswerError(f"found a caption of {len(text):,} characters, expected {LONGEST_CAPTION:,} at most")
    strange = next((c for c in text if not (c.isprintable() or c in _JOINERS)), None)
    if strange is not None:
        raise AnswerError(f"found the character {strange!a} in the caption, expected plain words")
    if "<" in text or ">" in text or "://" in text:
        raise AnswerError("found markup or a link in the caption, expected plain words")
    return text


def _object(text: str) -> Mapping[str, Any]:
    if len(text) > LONGEST_ANSWER:
        raise AnswerError(f"found an answer of {len(text):,} characters, expected {LONGEST_ANSWER:,} at most")
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        raise AnswerError(f"found {described(text)}, expected a JSON object") from None
    if not isinstance(value, dict):
        raise AnswerError(f"found {described(value)}, expected a JSON object")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands in it twice")
    return dict(pairs)


def _word(attribute: str, words: str) -> str:
    if words.strip().lower() in ("", UNKNOWN):
        return ""
    found = in_vocabulary(attribute, words)
    if found is None:
        raise AnswerError(f"{attribute}: found {described(words)}, expected one of {', '.join(VOCABULARY[attribute])}")
    return found


def _listed(value: Mapping[str, Any]) -> str:
    return ", ".join(described(name).removeprefix("the string ") for name in sorted(value)[:8]) or "none"
