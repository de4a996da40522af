"""A tokenizer of umT5's kind with a few pieces."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram

MARKS = ("<pad>", "</s>", "<unk>")
PIECES = ("▁", "▁a", "▁red", "▁bear", "▁walk", "s", "&", ".", "▁猫", "r", "e", "d")


def write_pieces(folder: Path, *, ends: bool = True) -> Path:
    """A folder with `tokenizer.json`: ids 0, 1, 2 are the marks, then the pieces. ends: texts are closed by a mark."""
    scores = [(mark, 0.0) for mark in MARKS] + [(piece, -1.0 - i / 100) for i, piece in enumerate(PIECES)]
    tokenizer = Tokenizer(Unigram(scores, unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    if ends:
        tokenizer.post_processor = processors.TemplateProcessing(single=["$A", "</s>"], special_tokens=[("</s>", 1)])
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
