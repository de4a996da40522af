"""The cache of CLIP's view: whose embeddings stand where, and that a board sees the same ones."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipeline.pictures import open_pictures
from data_pipeline.records import open_records
from data_pipeline.toy_cinema.captions import vocabulary
from data_pipeline.toy_records import write_toy_records
from stage_jax.errors import InputError
from stage_jax.generate.clip_embedder import read_clip_for
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.clip_tokenizer import CLIPTokenizer
from stage_jax.models.stacking import flat_params
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.story.types import story_from_json
from stage_jax.weights.folder import write_part
from tests.goldens import drawn
from tests.models.tokenizers import write_clip_words

WORDS = vocabulary()[2:]
TEXT = CLIPTextConfig(vocabulary=4 + len(WORDS), dim=8, ffn_dim=8, heads=2, layers=2, positions=80)
CONFIG = CLIPConfig(dim=8, ffn_dim=8, heads=2, layers=2, picture=28, patch=14, projection=6, text=TEXT)
EVERYTHING = STEP2Config(ranking="clip_text", image_tokens=True)


@pytest.mark.slow
def test_what_the_cache_holds_and_what_a_board_sees(tmp_path: Path):
    write_toy_records(tmp_path / "toy", {"train": 1}, size=16, clips=False)
    model = drawn(nnx.eval_shape(lambda: CLIP(CONFIG, nnx.Rngs(0))))
    params = jax.tree.map(jnp.asarray, flat_params(model))
    write_part(tmp_path / "model", "clip", CONFIG, params)
    write_clip_words(tmp_path / "model" / "clip_tokenizer", WORDS)
    found = open_pictures(tmp_path / "toy", "train", tmp_path / "model", EVERYTHING)
    (record,) = open_records(tmp_path / "toy", "train")
    shots = record["shots"]
    pairs = record["frames"].reshape(shots, -1, 16, 16, 3)[:, :2]
    assert found.frames.shape == (shots, 2, 6) and found.tokens.shape == (shots, 5, 8) and found.texts.shape == (shots, 6)

    embedder = read_clip_for(EVERYTHING, tmp_path / "model")
    story = story_from_json(json.loads(record["story"]), "record")
    last = shots - 1
    np.testing.assert_allclose(found.frames[last], embedder.frames(pairs[last]), atol=2e-3, rtol=2e-3)
    np.testing.assert_allclose(found.tokens[last], embedder.tokens(pairs[last, 1:])[0], atol=2e-3, rtol=2e-3)
    told = [shot.description for _, shot in story.shots()]
    np.testing.assert_allclose(found.texts[last], embedder.texts(told[last:])[0], atol=2e-3, rtol=2e-3)
    assert np.abs(found.frames[last, 0] - found.frames[last, 1]).max() > 0.01 and embedder.no_tokens().shape == (5, 8)

    again = open_pictures(tmp_path / "toy", "train", tmp_path / "model", dataclasses.replace(TINY, ranking="clip_image"))
    np.testing.assert_array_equal(again.frames, found.frames)
    assert again.texts is again.tokens is None
    assert open_pictures(tmp_path / "toy", "train", tmp_path / "model", TINY) is None
    assert read_clip_for(TINY, tmp_path / "model") is None
    write_part(tmp_path / "model", "clip", CONFIG, jax.tree.map(lambda x: x + 1, params))
    with pytest.raises(InputError, match="made by the clip"):
        open_pictures(tmp_path / "toy", "train", tmp_path / "model", EVERYTHING)


def test_clip_texts_stand_between_marks_and_are_cut(tmp_path: Path):
    tokenizer = CLIPTokenizer.load(write_clip_words(tmp_path / "words", ("mia", "runs")), length=5)
    assert tokenizer.encode(["mia", "mia runs mia runs"]).tolist() == [[0, 4, 2, 1, 1], [0, 4, 5, 4, 2]]
    with pytest.raises(InputError, match=r"an empty text has the ids \[2\], expected those of <s> and </s>, \[0, 2\]"):
        CLIPTokenizer.load(write_clip_words(tmp_path / "other", ("mia",), starts=False))
    with pytest.raises(InputError, match="not found, expected the tokenizer of CLIP's text tower"):
        CLIPTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="not a tokenizer that transformers reads"):
        CLIPTokenizer.load(tmp_path)
