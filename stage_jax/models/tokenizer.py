"""A word-level tokenizer for the tiny text encoder: lower-case words and punctuation marks, closed by an end mark."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from stage_jax import files
from stage_jax.errors import InputError

PAD, EOS = 0, 1
_SPECIAL = ("<pad>", "</s>")
_TOKEN = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[^\w\s]|_")
_FILE = "tokenizer.json"


def split_words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks; apostrophes and hyphens inside a word belong to it."""
    return _TOKEN.findall(text.lower())


class WordTokenizer:
    """vocabulary: the words, whose ids start at 2 (0 is padding, 1 the end mark). length: ids per text, end mark
    included.
    """

    def __init__(self, vocabulary: tuple[str, ...], length: int):
        if len(set(vocabulary)) != len(vocabulary):
            raise ValueError("tokenizer: the vocabulary holds a word twice")
        if length < 1:
            raise ValueError(f"tokenizer: a length of {length}")
        self.vocabulary = tuple(vocabulary)
        self.length = length
        self._ids = {word: i for i, word in enumerate(self.vocabulary, start=len(_SPECIAL))}

    @property
    def size(self) -> int:
        """Number of ids: what the text encoder's table needs."""
        return len(_SPECIAL) + len(self.vocabulary)

    @property
    def longest(self) -> int:
        """Words and marks of the longest text that is read whole: the end mark takes an id, too."""
        return self.length - 1

    def count(self, text: str) -> int:
        """Words and marks of a text that are in the vocabulary."""
        return sum(word in self._ids for word in split_words(text))

    def unknown(self, texts: Iterable[str]) -> dict[str, list[str]]:
        """Words that are not in the vocabulary, in the order of their first appearance, each with up to three near
        ones.
        """
        return {word: difflib.get_close_matches(word, self.vocabulary, n=3, cutoff=0.6) for word in self._new(texts)}

    def grown(self, texts: Iterable[str]) -> WordTokenizer:
        """The same with the words of texts that it does not know behind its own, whose ids stay."""
        return WordTokenizer((*self.vocabulary, *self._new(texts)), self.length)

    def _new(self, texts: Iterable[str]) -> list[str]:
        """Words that are not in the vocabulary, in the order of their first appearance."""
        return list(dict.fromkeys(word for text in texts for word in split_words(text) if word not in self._ids))

    def encode(
        self, texts: Sequence[str], allow_unknown: bool = False
    ) -> tuple[Int[np.ndarray, "b l"], Int[np.ndarray, "b l"]]:
        """ids and mask (1 = token), [B, length] int32. A longer text is cut, the end mark stays.

        InputError names every unknown word of all texts; with allow_unknown such words are left out.
        """
        if not allow_unknown and (unknown := self.unknown(texts)):
            named = (word + (f" (near: {', '.join(near)})" if near else "") for word, near in unknown.items())
            raise InputError(f"words that the model does not know: {'; '.join(named)}")
        ids = np.full((len(texts), self.length), PAD, np.int32)
        mask = np.zeros_like(ids)
        for row, text in enumerate(texts):
            known = [self._ids[word] for word in split_words(text) if word in self._ids]
            tokens = [*known[: self.longest], EOS]
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        return ids, mask

    def save(self, folder: str | Path) -> None:
        """Write ``tokenizer.json`` into a folder that exists."""
        content = {"kind": "words", "length": self.length, "vocabulary": list(self.vocabulary)}
        files.write_text(Path(folder) / _FILE, json.dumps(content, ensure_ascii=False, indent=1) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> WordTokenizer:
        """Read ``tokenizer.json``. InputError if it is missing or is not such a file."""
        path = Path(folder) / _FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            words = content["vocabulary"]
            if content["kind"] != "words" or not all(isinstance(word, str) for word in words):
                raise ValueError("not a list of words")
            return cls(tuple(words), int(content["length"]))
        except FileNotFoundError:
            raise InputError(f"{path}: not found, expected the tokenizer of the model") from None
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not a word tokenizer ({error}), expected kind, length and vocabulary") from None
