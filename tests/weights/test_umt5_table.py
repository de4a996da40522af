"""The table of the umT5 encoder: the published state dict exactly, in Wan's naming and in transformers'."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.zoo import TEXT_ENCODERS
from stage_jax.weights.table import from_torch, match, to_torch, torch_entries
from stage_jax.weights.umt5_table import UMT5_TABLE, umt5_shapes

PUBLISHED = Path(__file__).parents[1] / "data" / "state_dicts" / "umt5_xxl_encoder.json.gz"
SMALL = UMT5Config(vocabulary=7, dim=4, attention_dim=6, ffn_dim=5, heads=2, layers=2, buckets=8)


def test_published_keys_and_shapes():
    """Every key once, with its shape, at full size; nothing is allocated."""
    published = {name: tuple(shape) for name, shape in json.loads(gzip.decompress(PUBLISHED.read_bytes())).items()}
    ours = umt5_shapes(TEXT_ENCODERS["umt5-xxl"])
    named = torch_entries(ours, UMT5_TABLE)
    assert {name: pieces[0][0].torch_shape(ours[pieces[0][1]].shape) for name, pieces in named.items()} == published
    assert len(published) == 242 and sum(map(math.prod, published.values())) == 5_680_910_336


@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_there_and_back(naming: str):
    shapes = umt5_shapes(SMALL)
    rng = np.random.default_rng(0)
    params = {path: rng.standard_normal(leaf.shape, dtype=np.float32) for path, leaf in shapes.items()}
    state = to_torch(params, UMT5_TABLE, naming=naming)
    assert len(state) == len(params)
    back = from_torch(state, UMT5_TABLE, params, naming=naming)
    assert back.keys() == params.keys()
    assert all((back[path] == params[path]).all() for path in params)


def test_what_is_left_out():
    """The tied copy of the embedding and ComfyUI's tokenizer, each by name; nothing else."""
    shapes = umt5_shapes(SMALL)
    state = {name: array.shape for name, array in to_torch({p: np.zeros(s.shape) for p, s in shapes.items()},
                                                           UMT5_TABLE, naming="diffusers").items()}  # fmt: skip
    more = {"encoder.embed_tokens.weight": (7, 4), "spiece_model": (99,)}
    assert match(state | more, UMT5_TABLE, shapes, naming="diffusers").keys() == shapes.keys()
    with pytest.raises(InputError, match="1 entries do not fit: decoder.embed_tokens.weight is not known"):
        match(state | {"decoder.embed_tokens.weight": (7, 4)}, UMT5_TABLE, shapes, naming="diffusers")


@pytest.mark.torch
def test_names_of_transformers():
    """Its own model of these sizes has exactly these entries, the tied one once."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch")
    model = transformers.UMT5EncoderModel(
        transformers.UMT5Config(vocab_size=7, d_model=4, d_kv=3, num_heads=2, d_ff=5, num_layers=2,
                                relative_attention_num_buckets=8, feed_forward_proj="gated-gelu")
    )  # fmt: skip
    theirs = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    shapes = umt5_shapes(SMALL)
    assert match(theirs, UMT5_TABLE, shapes, naming="diffusers").keys() == shapes.keys()
    assert theirs.keys() - torch_entries(shapes, UMT5_TABLE, naming="diffusers").keys() == {"encoder.embed_tokens.weight"}
