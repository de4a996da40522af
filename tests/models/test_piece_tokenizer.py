"""The tokenizer of umT5: cleaning, ids, its folder, and what it refuses."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.models.clean_text import clean_prompt
from stage_jax.models.piece_tokenizer import PieceTokenizer, load_tokenizer
from stage_jax.models.tokenizer import WordTokenizer
from tests.models.tokenizers import MARKS, PIECES, write_pieces

ODD = (
    "  a \u00a0 red\n\tbear\u2028 ", "schÃ¶n â\x80\x94 l&#39;ours", "R&amp;amp;D &lt;b&gt; &amp;nbsp; x", "\x1b[31mred\x1b[0m",
    "“quotes” ﬁne ｆｕｌｌ", "&#x1c;a&#128;b", "猫咪，拳击。", "", " \u200b\ufeff ", "a&amp;amp;amp;b", "\ud83d\ude00 e\u0301",
)  # fmt: skip


def test_cleaning():
    assert clean_prompt("  a \u00a0 red\n\tbear ") == "a red bear"
    assert clean_prompt("schÃ¶n") == "schön"
    assert clean_prompt("R&amp;amp;D &lt;b&gt;") == "R&D <b>"


@pytest.mark.torch
def test_cleaning_beside_diffusers():
    pytest.importorskip("torch")
    pipeline = pytest.importorskip("diffusers.pipelines.wan.pipeline_wan")
    every = "".join(map(chr, [*range(0xD800), *range(0xE000, 0x3000 + 0xE000)]))
    for text in (*ODD, *(f"a{character}{character}b" for character in every if not character.isalnum())):
        assert clean_prompt(text) == pipeline.prompt_clean(text), ascii(text)


def test_ids_and_mask(tmp_path: Path):
    tokenizer = load_tokenizer(write_pieces(tmp_path))
    assert isinstance(tokenizer, PieceTokenizer) and tokenizer.size == len(MARKS) + len(PIECES)
    ids, mask = tokenizer.encode(["a  red&nbsp;bear", "", "a red 猫 walks."])
    assert ids.shape == mask.shape == (3, 512) and ids.dtype == mask.dtype == np.int32
    np.testing.assert_array_equal(ids[:, :8], [[4, 5, 6, 1, 0, 0, 0, 0], [1, *[0] * 7], [4, 5, 11, 7, 8, 10, 1, 0]])
    np.testing.assert_array_equal(mask.sum(axis=1), [4, 1, 7])
    np.testing.assert_array_equal(ids[:, 8:], 0)


def test_a_long_text_is_cut_before_the_end_mark(tmp_path: Path):
    tokenizer = PieceTokenizer.load(write_pieces(tmp_path), length=3)
    ids, mask = tokenizer.encode(["a red bear"])
    np.testing.assert_array_equal(ids, [[4, 5, 1]])
    assert mask.all() and tokenizer.longest == 2
    assert [tokenizer.count(text) for text in ("", "a red", "a red bear.")] == [0, 2, 4]
    assert tokenizer.unknown(["zebra"]) == {}


def test_a_folder_says_its_kind(tmp_path: Path):
    (tmp_path / "words").mkdir()
    WordTokenizer(("a", "red"), 5).save(tmp_path / "words")
    assert isinstance(load_tokenizer(tmp_path / "words"), WordTokenizer)
    assert isinstance(load_tokenizer(write_pieces(tmp_path / "pieces")), PieceTokenizer)


def test_other_files_of_the_folder_have_no_say(tmp_path: Path):
    """A class named in tokenizer_config.json is not looked for, code beside it is not run."""
    write_pieces(tmp_path)
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "add_eos_token": False}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("raise SystemExit('run')\n")
    assert load_tokenizer(tmp_path).encode(["a"])[0][0, :3].tolist() == [4, 1, 0]


def without_padding(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"][0][0] = "<padding>"
    content["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda folder: (folder / "tokenizer.json").unlink(), "found neither tokenizer.json nor spiece.model"),
        (lambda folder: (folder / "tokenizer.json").write_text("{"), "tokenizer.json: not a tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("[" * 99999), "tokenizer.json: not a tokenizer"),
        (lambda folder: (folder / "tokenizer.json").write_text("{}"), "not a tokenizer that transformers reads"),
        (lambda folder: (folder / "tokenizer.json").write_bytes(b"\xff"), "tokenizer.json: not a tokenizer"),
        (lambda folder: write_pieces(folder, ends=False), r"closes a text with the ids \[\], expected that of </s>"),
        (without_padding, "<pad> missing"),
    ],
)
def test_a_broken_folder_is_one_clear_line(tmp_path: Path, spoil, expected: str):
    spoil(write_pieces(tmp_path))
    with pytest.raises(InputError, match=expected) as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)


def test_pieces_of_sentencepiece_need_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "spiece.model").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(InputError, match="spiece.model: needs the package sentencepiece"):
        load_tokenizer(tmp_path)


@pytest.mark.torch
def test_sentencepiece_itself(tmp_path: Path):
    """A folder with `spiece.model` alone, and with the `tokenizer.json` made of it, beside the library that trained it."""
    sentencepiece = pytest.importorskip("sentencepiece")
    lines = ["a red bear walks on the beach", "two cats fight on a stage", "Ein Bär läuft nach links", "猫咪在舞台上"]
    (tmp_path / "lines.txt").write_text("\n".join(lines * 20), encoding="utf-8")
    train = (
        "import sys, sentencepiece; sentencepiece.SentencePieceTrainer.train(input=sys.argv[1], model_prefix=sys.argv[2], "
        "vocab_size=90, pad_id=0, eos_id=1, unk_id=2, bos_id=-1, hard_vocab_limit=False, num_threads=1, minloglevel=2)"
    )
    subprocess.run([sys.executable, "-c", train, tmp_path / "lines.txt", tmp_path / "spiece"], check=True)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "spiece.model"))
    tokenizer = load_tokenizer(tmp_path)
    (tmp_path / "made").mkdir()
    tokenizer._tokenizer.backend_tokenizer.save(str(tmp_path / "made" / "tokenizer.json"))
    assert tokenizer.size == reference.get_piece_size()
    for text in (*lines, *ODD):
        expected = [*reference.encode(clean_prompt(text)), 1]
        for found in (tokenizer, load_tokenizer(tmp_path / "made")):
            ids, mask = found.encode([text])
            assert ids[0, : mask.sum()].tolist() == expected
    shutil.copy(tmp_path / "lines.txt", tmp_path / "spiece.model")
    with pytest.raises(InputError, match=r"spiece.model: not a tokenizer") as caught:
        load_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
