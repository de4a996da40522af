"""The cache of embedded captions: what it holds, and whose it is."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from data_pipeline.records import open_records
from data_pipeline.texts import open_texts
from data_pipeline.toy_cinema.captions import vocabulary
from data_pipeline.toy_records import write_toy_records
from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.story.types import story_from_json
from stage_jax.weights.folder import part_hash, write_part

LENGTH = 24


def model(folder: Path, seed: int, length: int = LENGTH) -> UMT5Encoder:
    """Writes a random text encoder and the toy's tokenizer into a model folder."""
    tokenizer = WordTokenizer(vocabulary()[2:], length)
    config = UMT5Config(
        vocabulary=tokenizer.size, dim=8, attention_dim=8, ffn_dim=8, heads=2, layers=1
    )
    encoder = UMT5Encoder(config, nnx.Rngs(seed))
    write_part(folder, "umt5", config, flat_params(encoder))
    (folder / "tokenizer").mkdir(exist_ok=True)
    tokenizer.save(folder / "tokenizer")
    return encoder


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts") / "toy"
    write_toy_records(folder, {"train": 2}, size=16, clips=False)
    return folder


def test_every_caption_in_order_and_the_empty_one_last(toy: Path, tmp_path: Path):
    encoder = model(tmp_path, 0)
    texts = open_texts(toy, "train", tmp_path)
    stories = [story_from_json(json.loads(record["story"]), "record") for record in open_records(toy, "train")]
    captions = [shot.description for story in stories for _, shot in story.shots()]
    ids, mask = WordTokenizer.load(tmp_path / "tokenizer").encode([*captions, ""])
    expected = jax.jit(lambda ids, mask: zero_padding(encoder(ids, mask), mask))(ids, mask)
    assert texts.embeddings.dtype == np.float16
    np.testing.assert_array_equal(texts.mask, mask)
    np.testing.assert_allclose(texts.embeddings, expected, atol=4e-3)
    again = open_texts(toy, "train", tmp_path, progress=lambda *_: pytest.fail("made again"))
    np.testing.assert_array_equal(again.embeddings, texts.embeddings)


@pytest.mark.parametrize("other", ["umt5", "tokenizer"])
def test_a_cache_of_another_encoder_or_tokenizer_is_refused(other: str, toy: Path, tmp_path: Path):
    own = tmp_path / "toy"
    write_toy_records(own, {"train": 1}, size=16, clips=False)
    model(tmp_path / "a", 0)
    model(tmp_path / "b", *((1, LENGTH) if other == "umt5" else (0, LENGTH + 1)))
    open_texts(own, "train", tmp_path / "a")
    with pytest.raises(InputError, match=rf"train-text: made by the {other} \w{{12}}, expected \w{{12}}; remove it") as caught:
        open_texts(own, "train", tmp_path / "b")
    if other == "umt5":
        assert all(part_hash(tmp_path / name, "umt5")[:12] in str(caught.value) for name in "ab")
