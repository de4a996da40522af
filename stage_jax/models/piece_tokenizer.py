"""The tokenizer of umT5: pieces of words, by transformers, from a `google/umt5-xxl` folder; and which kind a folder holds."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from jaxtyping import Int

from stage_jax.errors import InputError
from stage_jax.models.clean_text import clean_prompt
from stage_jax.models.tokenizer import WordTokenizer

LENGTH = 512  # ids per text in all of Wan's models (`text_len`)
FILES = FILE, PIECES = "tokenizer.json", "spiece.model"
_PAD, _EOS, _UNKNOWN = "<pad>", "</s>", "<unk>"


class PieceTokenizer:
    """A tokenizer of transformers that closes every text with an end mark. length: ids per text, end mark included."""

    def __init__(self, tokenizer: Any, length: int = LENGTH):
        self.length = length
        self._tokenizer = tokenizer

    @property
    def size(self) -> int:
        """Number of ids: the text encoder's table has at least so many rows."""
        return len(self._tokenizer)

    @property
    def longest(self) -> int:
        """Pieces of the longest text that is read whole."""
        return self.length - 1

    def count(self, text: str) -> int:
        """Pieces of a text, the end mark left out."""
        return len(self._tokenizer(clean_prompt(text)).input_ids) - 1

    def unknown(self, texts: Iterable[str]) -> dict[str, list[str]]:
        """No word is unknown to pieces."""
        return {}

    def encode(
        self, texts: Sequence[str], allow_unknown: bool = False
    ) -> tuple[Int[np.ndarray, "b l"], Int[np.ndarray, "b l"]]:
        """ids and mask (1 = token), [B, length] int32, of the cleaned texts. A longer text is cut, the end mark stays.
        allow_unknown: as `WordTokenizer.encode` has it; nothing is unknown here."""
        cleaned = [clean_prompt(text) for text in texts]
        coded = self._tokenizer(cleaned, padding="max_length", truncation=True, max_length=self.length, return_tensors="np")
        return coded.input_ids.astype(np.int32), coded.attention_mask.astype(np.int32)

    @classmethod
    def load(cls, folder: str | Path, length: int = LENGTH) -> PieceTokenizer:
        """Reads `tokenizer.json` as it stands, so that no other file of the folder picks a class or runs code; else
        `spiece.model`, which takes the package sentencepiece. InputError for what is neither, or ends texts otherwise."""
        folder = Path(folder)
        path = next((folder / name for name in FILES if (folder / name).is_file()), None)
        if path is None:
            raise InputError(f"{folder}: found neither {FILE} nor {PIECES}, expected the tokenizer of the model")
        if path.name == PIECES and importlib.util.find_spec("sentencepiece") is None:
            raise InputError(f"{path}: needs the package sentencepiece (or {FILE} beside it, which is read without)")
        tokenizer = _read(path)
        if (ids := tokenizer("").input_ids) != [tokenizer.convert_tokens_to_ids(_EOS)]:
            raise InputError(f"{path}: closes a text with the ids {ids}, expected that of {_EOS} alone")
        return cls(tokenizer, length)


Tokenizer: TypeAlias = WordTokenizer | PieceTokenizer


def load_tokenizer(folder: str | Path) -> Tokenizer:
    """The tokenizer of a folder, whichever its kind: words (a `tokenizer.json` that says so) or pieces. InputError if it has
    none."""
    return WordTokenizer.load(folder) if _holds_words(Path(folder) / FILE) else PieceTokenizer.load(folder)


def _holds_words(path: Path) -> bool:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a tokenizer ({error}), expected JSON") from None
    return isinstance(content, dict) and "kind" in content


def _read(path: Path) -> Any:
    from transformers import T5Tokenizer, TokenizersBackend  # seconds to import

    marks = {"pad_token": _PAD, "eos_token": _EOS, "unk_token": _UNKNOWN}
    try:
        if path.name == FILE:
            tokenizer = TokenizersBackend(tokenizer_file=str(path))
        else:
            tokenizer = T5Tokenizer(**T5Tokenizer.convert_to_native_format(vocab_file=str(path), extra_ids=0))
    except Exception as error:  # the Rust side raises nothing narrower
        raise InputError(f"{path}: not a tokenizer that transformers reads ({error})") from None
    if missing := [mark for mark in marks.values() if mark not in tokenizer.get_vocab()]:
        raise InputError(f"{path}: {', '.join(missing)} missing, expected the marks of T5")
    tokenizer.add_special_tokens(marks)
    return tokenizer
