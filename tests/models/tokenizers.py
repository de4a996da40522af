"""Tokenizers of umT5's and of CLIP's kind with a few pieces."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import Unigram, WordLevel

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


def write_clip_words(folder: Path, words: tuple[str, ...], *, starts: bool = True) -> Path:
    """A folder with a `tokenizer.json` of words, by XLM-RoBERTa's marks: <s> 0, <pad> 1, </s> 2, <unk> 3. starts: texts begin
    with a mark."""
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(("<s>", "<pad>", "</s>", "<unk>", *words))}, "<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    single = ["<s>", "$A", "</s>"] if starts else ["$A", "</s>"]
    marks = [("<s>", 0), ("</s>", 2)] if starts else [("</s>", 2)]
    tokenizer.post_processor = processors.TemplateProcessing(single=single, special_tokens=marks)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
