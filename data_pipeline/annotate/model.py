"""A model that looks at pictures and answers: what an endpoint and a local model have in common."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable


@dataclass(frozen=True)
class Question:
    """words: what is asked. pictures: PNG or JPEG files' bytes, in the order in which the words speak of them. schema: the JSON
    schema that the answer is to have."""

    words: str
    pictures: tuple[bytes, ...] = field(repr=False)
    schema: Mapping[str, Any] = field(repr=False)

    def digest(self, asked: str) -> str:
        """The hash by which the answer of `asked` (a model's name) to this question is kept."""
        pictures = [hashlib.sha256(picture).hexdigest() for picture in self.pictures]
        parts = {"asked": asked, "words": self.words, "pictures": pictures, "schema": dict(self.schema)}
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class ModelError(Exception):
    """The model gave no answer, and why. retry: whether asking again may help; wait: seconds that it asked for."""

    def __init__(self, why: str, *, retry: bool, wait: float = 0.0):
        super().__init__(why)
        self.retry, self.wait = retry, wait


@runtime_checkable
class VisionModel(Protocol):
    """name: says which model it is and how it is asked; answers are kept under it."""

    name: str

    def answer(self, question: Question) -> str:
        """The text of one answer. Raises ModelError. Called from several threads."""
        ...
