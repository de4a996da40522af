"""The image forms of Wan's DiT: the CLIP branch, the conditioning channels, a clean first frame at its own timestep."""

from __future__ import annotations

import math
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.goldens import TOLERANCE, relative_error
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.image_embedding import ImageEmbedding
from stage_jax.models.sequence import Segment, grid_positions
from stage_jax.models.stacking import flat_params
from tests.goldens import drawn, load_golden
from tests.models.dits import TINY, TINY_CLIP, abstract, compiled, golden_sequence, loaded, random_model, random_sequence, run


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scan"])
@pytest.mark.parametrize("name", ["dit_i2v", "dit_flf2v", "dit_ti2v_2.2"])
def test_golden(name: str, scan: bool):
    golden = load_golden(name)
    outputs = run(loaded(golden, scan), golden_sequence(golden), options={}).outputs
    assert relative_error(np.concatenate(outputs, axis=2), golden.io["out"]) <= TOLERANCE


def test_golden_with_padding_and_taps():
    """Split over parts and padded, layer by layer: the same numbers. The tap shows the attention to the caption alone."""
    golden = load_golden("dit_flf2v")
    sequence = replace(golden_sequence(golden), context_parts=4, block=64)
    tap = "blocks.1.cross_attention"
    output = run(loaded(golden, scan=True), sequence, (tap,))
    assert relative_error(output.outputs[0], golden.io["out"]) <= TOLERANCE
    assert output.taps[tap].shape == (1, golden.model["num_heads"], sequence.segments[0].size, golden.model["text_len"])
    np.testing.assert_allclose(output.taps[tap].sum(axis=-1), 1.0, atol=1e-5)


@pytest.mark.parametrize("heights", [(4, 4), (4, 8)], ids=["equal", "unequal"])
def test_tokens_of_every_caption_read_the_image(heights: tuple[int, int]):
    """Two captions that say the same are one caption, whether their tokens are as many or not."""
    forward, rng = compiled(random_model(TINY_CLIP)), np.random.default_rng(5)
    sequence = random_sequence(TINY_CLIP)

    def segments(captions: tuple[int, int]) -> tuple[Segment, ...]:
        return tuple(
            Segment(latent, grid_positions(1, latent.shape[3], 4, times=[time])[None], caption=caption)
            for time, (latent, caption) in enumerate(zip(latents, captions, strict=True))
        )

    latents = [rng.standard_normal((2, 4, 1, height, 4), dtype=np.float32) for height in heights]
    one = replace(sequence, segments=segments((0, 0)))
    two = replace(sequence, segments=segments((0, 1)), captions=np.repeat(sequence.captions, 2, axis=1))
    other = replace(two, image_tokens=sequence.image_tokens[:, ::-1])
    for joined, apart, changed in zip(*(forward(s).outputs for s in (one, two, other)), strict=True):
        np.testing.assert_allclose(joined, apart, atol=1e-5)
        assert relative_error(changed, apart) > 1e-3


def test_order_of_the_image_tokens_is_told_by_positions_only():
    """Without positions the features are a set; with them, first and last frame differ."""
    sequence = random_sequence(TINY_CLIP)
    turned = replace(sequence, image_tokens=sequence.image_tokens[:, ::-1])
    for config, differ in ((TINY_CLIP, True), (replace(TINY_CLIP, image_positions=None), False)):
        forward = compiled(random_model(config))
        first, second = (forward(s).outputs[0] for s in (sequence, turned))
        assert (relative_error(first, second) > 1e-3) == differ


def test_image_embedding_by_hand():
    """Features so small that the norms' eps tells: 1e-5, not the 1e-6 of the DiT (the goldens see it at 5e-6 only)."""
    embedding = drawn(nnx.eval_shape(lambda: ImageEmbedding(5, 8, 6, nnx.Rngs(0))))
    weights = {name: np.asarray(value, np.float64) for name, value in flat_params(embedding).items()}
    features = 1e-3 * np.random.default_rng(4).standard_normal((2, 6, 5))
    features -= weights["positions"] * (1 - 1e-3)  # what the positions leave over is small, too

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scaled = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return scaled * weights[f"{name}.scale"] + weights[f"{name}.bias"]

    up = norm(features + weights["positions"], "norm_in") @ weights["up.kernel"] + weights["up.bias"]
    exact_gelu = up * (1 + np.vectorize(math.erf)(up / np.sqrt(2))) / 2
    expected = norm(exact_gelu @ weights["down.kernel"] + weights["down.bias"], "norm_out")
    found = embedding(jnp.asarray(features, jnp.float32), jnp.dtype("float32"))
    assert relative_error(found, expected) <= TOLERANCE


def test_start_of_the_image_branch():
    """Wan's start: positions at zero, norms at one and zero, the rest drawn."""
    model = DiT(replace(TINY_CLIP, layers=1), nnx.Rngs(0))
    start = {k: np.asarray(v) for k, v in flat_params(model).items() if "image" in k}
    assert start["image_embedding.positions"].shape == (1, 6, 5)
    ones = {k for k, v in start.items() if (v == 1).all()}
    zeros = {k for k, v in start.items() if not v.any()}
    assert ones == {
        "image_embedding.norm_in.scale",
        "image_embedding.norm_out.scale",
        "blocks.cross_attention.norm_key_image.scale",
    }
    assert zeros == {"image_embedding.positions", *(k for k in start if k.endswith("bias"))}
    assert {k.rpartition(".")[2] for k in start.keys() - ones - zeros} == {"kernel"}
    assert not any("image" in k for k in flat_params(abstract(TINY)))


@pytest.mark.parametrize(
    ("config", "shape", "message"),
    [
        (TINY_CLIP, None, "without image tokens, but the model reads some of width 5"),
        (TINY, (2, 6, 5), "with image tokens, but the model has no branch"),
        (TINY_CLIP, (2, 3, 5), r"\(2, 3, 5\), the model takes \(2, 6, 5\)"),
        (TINY_CLIP, (2, 6, 4), r"\(2, 6, 4\), the model takes \(2, 6, 5\)"),
    ],
)
def test_image_tokens_that_do_not_fit_are_refused(config: DiTConfig, shape: tuple[int, ...] | None, message: str):
    tokens = None if shape is None else np.zeros(shape, np.float32)
    sequence = replace(random_sequence(TINY), image_tokens=tokens)
    with pytest.raises(ValueError, match=message) as caught:
        jax.eval_shape(random_model(config), sequence)
    assert "\n" not in str(caught.value)


def test_positions_without_a_branch_are_refused():
    with pytest.raises(ValueError, match="514 image positions"):
        replace(TINY, image_positions=514)
