"""CLIP's towers: the reference implementation's numbers, and what holds without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.goldens import Golden, relative_error
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import MEAN, STD, bicubic, clip_pictures
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.stacking import flat_params, stack_params, unstack_params, with_params
from stage_jax.models.zoo import CLIPS, DITS
from stage_jax.weights.clip_table import clip_table
from stage_jax.weights.table import from_torch, to_torch
from tests.goldens import QUICK, drawn, load_golden

TOLERANCE = 5e-6  # a LayerNorm's eps of 1e-6 instead of 1e-5 shows as 7e-6
TEXT = CLIPTextConfig(vocabulary=17, dim=12, ffn_dim=20, heads=3, layers=2, positions=10)
TINY = CLIPConfig(dim=8, ffn_dim=12, heads=2, layers=3, picture=28, projection=6, text=TEXT)
IDS = np.array([[0, 5, 9, 2, 1, 1], [0, 7, 8, 11, 16, 2]])


def abstract(config: CLIPConfig, scan: bool = True) -> CLIP:
    text = None if config.text is None else replace(config.text, scan_layers=scan)
    config = replace(config, scan_layers=scan, text=text)
    return nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0)))


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_golden("clip_vision")


@pytest.fixture(scope="module")
def tiny() -> CLIP:
    return drawn(abstract(TINY))


def tokens(clip: CLIP, x: np.ndarray) -> jax.Array:
    return clip.vision(x)


def embedding(clip: CLIP, x: np.ndarray) -> jax.Array:
    return clip.vision.embed(x)


def text(clip: CLIP, ids: np.ndarray) -> jax.Array:
    return clip.text(ids)


def similarity(clip: CLIP, x: np.ndarray, ids: np.ndarray) -> jax.Array:
    return clip.similarity(x, ids)


def run(what: Callable[..., jax.Array], clip: CLIP, *inputs: np.ndarray) -> jax.Array:
    """Compiled once for all parameters."""
    return _run(what, *nnx.split(clip), *inputs)


@partial(jax.jit, static_argnums=(0, 1), compiler_options=QUICK)
def _run(what: Callable[..., jax.Array], graphdef: nnx.GraphDef, state: nnx.State, *inputs: jax.Array) -> jax.Array:
    return what(nnx.merge(graphdef, state), *inputs)


def pictures(side: int = 28, count: int = 2) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, side, side, 3), dtype=np.float32)


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scan"])
@pytest.mark.smoke
def test_golden(golden: Golden, scan: bool):
    """The last block but one; the weights come back from our names bit for bit."""
    config = CLIPConfig(dim=64, ffn_dim=256, heads=4, layers=3, picture=56, projection=32)
    weights = {f"visual.{name}": array for name, array in golden.weights.items()}
    params = from_torch(weights, clip_table(config), flat_params(abstract(config, scan=False)))
    back = to_torch(params, clip_table(config))
    assert back.keys() == weights.keys() and all((back[name] == weights[name]).all() for name in back)
    clip = with_params(abstract(config, scan), stack_params(params) if scan else params)
    found = run(tokens, clip, np.moveaxis(golden.io["x"], 1, -1))
    assert relative_error(found, golden.io["out"]) <= TOLERANCE


def changed(clip: CLIP, path: str, *index: int) -> CLIP:
    """With one more in a part of one parameter."""
    params = {name: jnp.asarray(value) for name, value in flat_params(clip).items()}
    return with_params(clip, params | {path: params[path].at[index].add(1.0)})


def test_the_last_block_is_not_read_for_image_tokens(tiny: CLIP):
    """But it is for embeddings, as are the norm and the projection after it."""
    x = pictures()
    before, pooled = run(tokens, tiny, x), run(embedding, tiny, x)
    assert before.shape == (2, 5, 8) and pooled.shape == (2, 6)
    for path, *index in (("vision.blocks.up.kernel", 2), ("vision.norm_out.bias",), ("vision.head.kernel",)):
        other = changed(tiny, path, *index)
        np.testing.assert_array_equal(run(tokens, other, x), before)
        assert np.abs(run(embedding, other, x) - pooled).max() > 0.01
    assert np.abs(run(tokens, changed(tiny, "vision.blocks.up.kernel", 1), x) - before).max() > 0.01


def test_scan_and_unrolled_agree(tiny: CLIP):
    """Both towers, with layers as a list; names of the stacks and of the lists turn into each other."""
    params = unstack_params(flat_params(tiny))
    assert {"vision.blocks.2.up.kernel", "text.blocks.1.norm_ffn.bias"} < params.keys()
    listed = with_params(abstract(TINY, scan=False), params)
    assert stack_params(flat_params(listed)).keys() == flat_params(tiny).keys()
    assert relative_error(run(tokens, listed, pictures()), run(tokens, tiny, pictures())) <= TOLERANCE
    both = [run(similarity, clip, pictures(), IDS) for clip in (listed, tiny)]
    assert relative_error(*both) <= TOLERANCE


def test_padding_of_a_text_is_not_read(tiny: CLIP):
    """A text alone, and the same beside a longer one."""
    alone, together = run(text, tiny, IDS[:1, :4]), run(text, tiny, IDS)
    assert relative_error(together[:1], alone) <= TOLERANCE
    assert np.abs(together[0] - together[1]).max() > 0.01


def test_positions_begin_behind_the_pad(tiny: CLIP):
    """Rows 0 and 1 of the table belong to no token; eight tokens reach the last of the ten."""
    ids = np.full((1, 8), 5)
    for row, read in ((0, False), (1, False), (2, True), (9, True)):
        other = changed(tiny, "text.position_embedding", row, 0)
        assert bool((run(text, other, ids) != run(text, tiny, ids)).any()) == read
    with pytest.raises(ValueError, match="a text of 9 tokens, the model takes 8"):
        tiny.text(np.full((1, 9), 5))


def test_similarity(tiny: CLIP):
    """Cosines, scaled."""
    seen, read = np.asarray(run(embedding, tiny, pictures())), np.asarray(run(text, tiny, IDS))
    norms = np.linalg.norm(seen, axis=1)[:, None] * np.linalg.norm(read, axis=1)
    expected = np.exp(np.float32(tiny.log_scale[...])) * (seen @ read.T) / norms
    np.testing.assert_allclose(run(similarity, tiny, pictures(), IDS), expected, rtol=1e-4, atol=1e-5)


def test_a_vision_tower_alone():
    """As diffusers keeps it: no text, no projection."""
    vision = drawn(abstract(replace(TINY, text=None, projection=None)))
    assert run(tokens, vision, pictures()).shape == (2, 5, 8)
    with pytest.raises(ValueError, match="no projection"):
        vision.vision.embed(pictures())
    with pytest.raises(ValueError, match="no text tower"):
        vision.similarity(pictures(), IDS)
    with pytest.raises(ValueError, match="of the side 14, the model takes 28"):
        vision.vision(pictures(14))


def test_half_precision(tiny: CLIP):
    """Products in bfloat16, as far from float32 as its 8 bits let it be."""
    half = abstract(replace(TINY, dtype="bfloat16", text=replace(TEXT, dtype="bfloat16")))
    half = with_params(half, flat_params(tiny))
    for what, given in ((tokens, pictures()), (text, IDS)):
        found = run(what, half, given)
        assert found.dtype == jnp.bfloat16
        assert 0 < relative_error(found.astype(jnp.float32), run(what, tiny, given)) < 0.05


def test_sizes_that_cannot_be():
    for changes in ({"heads": 3}, {"picture": 30}, {"projection": None}):
        with pytest.raises(ValueError, match="CLIP: "):
            replace(TINY, **changes)
    with pytest.raises(ValueError, match="CLIP's text: 12 channels in 5 heads"):
        replace(TEXT, heads=5)


def test_the_tiny_one_fits_the_tiny_image_models():
    shape = jax.eval_shape(lambda: CLIP(CLIPS["tiny"], nnx.Rngs(0)).vision(pictures(CLIPS["tiny"].picture))).shape
    for form in ("i2v", "flf2v"):
        dit = DITS[f"wan2.1-{form}-tiny"]
        assert shape[2] == dit.image_dim and dit.image_positions in (None, 2 * shape[1])


def test_bicubic_weights():
    """Rows add up to one, an axis that keeps its size keeps its pixels, and the sharp kernel has negative taps."""
    for size, to in ((7, 7), (5, 14), (832, 224)):
        np.testing.assert_allclose(bicubic(size, to).sum(axis=1), 1, atol=1e-6)
        assert (np.count_nonzero(bicubic(size, to), axis=1) <= 4).all()
    np.testing.assert_array_equal(bicubic(7, 7), np.eye(7))
    # Halving looks between two pixels: -0.75 * 3/8 / 4 twice, outside.
    np.testing.assert_allclose(bicubic(8, 4)[1], [0, -0.09375, 0.59375, 0.59375, -0.09375, 0, 0, 0], atol=1e-7)


def test_pictures_are_normalised():
    """One colour stays one; black, grey and white in CLIP's scale. The aspect is not kept."""
    for level, value in ((-1, 0.0), (0, 0.5), (1, 1.0)):
        found = clip_pictures(np.full((1, 9, 16, 3), level, np.float32), 28)
        np.testing.assert_allclose(found, np.broadcast_to((value - np.array(MEAN)) / np.array(STD), (1, 28, 28, 3)), atol=2e-6)
