"""The word tokenizer: ids, what it refuses, and its file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.models.tokenizer import WordTokenizer, split_words

WORDS = ("a", "red", "bear", "walks", "don't", ",", ".")


def test_words():
    assert split_words("Don't walk, RED-nosed Bär!") == ["don't", "walk", ",", "red-nosed", "bär", "!"]
    assert split_words("  ") == []


def test_ids_and_mask():
    ids, mask = WordTokenizer(WORDS, 6).encode(["A red bear.", ""])
    np.testing.assert_array_equal(ids, [[2, 3, 4, 8, 1, 0], [1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0]])
    assert ids.dtype == np.int32 and WordTokenizer(WORDS, 6).size == 9


def test_a_long_text_is_cut_before_the_end_mark():
    ids, mask = WordTokenizer(WORDS, 3).encode(["a red bear walks"])
    np.testing.assert_array_equal(ids, [[2, 3, 1]])
    assert mask.all()


def test_what_is_counted_is_what_is_read():
    """A text of the longest count is read whole, one more word is not; words that are unknown do not count."""
    tokenizer = WordTokenizer(WORDS, 5)
    assert tokenizer.longest == 4
    for text, count in (("A red bear.", 4), ("A zebra, red.", 4), ("a red bear walks.", 5), ("", 0)):
        assert tokenizer.count(text) == count
        _, mask = tokenizer.encode([text], allow_unknown=True)
        assert mask.sum() == min(count, tokenizer.longest) + 1


def test_unknown_words_are_all_named_with_near_ones():
    tokenizer = WordTokenizer(WORDS, 8)
    texts = ["A read bear", "a zebra wals. A zebra"]
    with pytest.raises(InputError) as caught:
        tokenizer.encode(texts)
    message = str(caught.value)
    assert message == "words that the model does not know: read (near: red); zebra; wals (near: walks)"
    ids, mask = tokenizer.encode(texts, allow_unknown=True)
    np.testing.assert_array_equal(ids[0], [2, 4, 1, 0, 0, 0, 0, 0])
    assert mask.sum(axis=1).tolist() == [3, 4]


def test_new_words_stand_behind_the_old_ones():
    """In the order of their first appearance, each once; what is known keeps its id, and so do the empty text's."""
    tokenizer = WordTokenizer(WORDS, 6)
    grown = tokenizer.grown(["A zebra walks.", "The ZEBRA, an ape"])
    assert grown.vocabulary == (*WORDS, "zebra", "the", "an", "ape") and grown.length == 6
    for text in ("a red bear walks.", ""):
        np.testing.assert_array_equal(grown.encode([text]), tokenizer.encode([text]))
    np.testing.assert_array_equal(grown.encode(["the red zebra"])[0], [[10, 3, 9, 1, 0, 0]])
    assert tokenizer.vocabulary == WORDS and tokenizer.grown(["red"]).vocabulary == WORDS


def test_saved_and_loaded(tmp_path: Path):
    WordTokenizer(WORDS, 5).save(tmp_path)
    loaded = WordTokenizer.load(tmp_path)
    assert (loaded.vocabulary, loaded.length) == (WORDS, 5)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"kind": "words", "length": 4}', '{"kind": "x", "length": 4, "vocabulary": []}']
)
def test_a_broken_file_is_one_clear_line(tmp_path: Path, content: str):
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(InputError, match=r"tokenizer\.json: not a word tokenizer") as caught:
        WordTokenizer.load(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_clear_line(tmp_path: Path):
    with pytest.raises(InputError, match="not found"):
        WordTokenizer.load(tmp_path)


def test_a_vocabulary_without_doubles():
    with pytest.raises(ValueError, match="twice"):
        WordTokenizer(("a", "a"), 4)
