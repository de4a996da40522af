"""The tokenizer of CLIP's text tower: XLM-RoBERTa's pieces, by transformers, from its `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from stage_jax.errors import InputError
from stage_jax.models.clean_text import clean_prompt

LENGTH = 77  # OpenCLIP's ids per text for this model, marks included
START, PAD, END = "<s>", "<pad>", "</s>"


class CLIPTokenizer:
    """Texts between a start and an end mark, filled up with padding; a longer text is cut, the end mark stays."""

    def __init__(self, tokenizer: Any, length: int = LENGTH):
        self.length = length
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> Int[np.ndarray, "n l"]:
        cleaned = [clean_prompt(text) for text in texts]
        coded = self._tokenizer(cleaned, padding="max_length", truncation=True, max_length=self.length, return_tensors="np")
        return coded.input_ids.astype(np.int32)

    @classmethod
    def load(cls, folder: Path, length: int = LENGTH) -> CLIPTokenizer:
        """Reads `tokenizer.json` as it stands. InputError for what is none, or does not put texts between the marks."""
        from transformers import TokenizersBackend  # seconds to import

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise InputError(f"{path}: not found, expected the tokenizer of CLIP's text tower (XLM-RoBERTa's)")
        try:
            tokenizer = TokenizersBackend(tokenizer_file=str(path))
        except Exception as error:  # the Rust side raises nothing narrower
            raise InputError(f"{path}: not a tokenizer that transformers reads ({error})") from None
        tokenizer.add_special_tokens({"bos_token": START, "pad_token": PAD, "eos_token": END})
        marks = [tokenizer.convert_tokens_to_ids(mark) for mark in (START, END)]
        if (ids := tokenizer("").input_ids) != marks:
            raise InputError(f"{path}: an empty text has the ids {ids}, expected those of {START} and {END}, {marks}")
        return cls(tokenizer, length)
