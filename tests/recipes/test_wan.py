"""Wan's tasks: their masks, their conditions and their sequences."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.recipes.wan import (
    flf2v_condition,
    flf2v_mask,
    flf2v_sequence,
    i2v_condition,
    i2v_mask,
    i2v_sequence,
    t2v_sequence,
    ti2v_sequence,
)
from tests.goldens import QUICK, drawn


@pytest.mark.parametrize("frames", [1, 5, 9, 17, 81])
@pytest.mark.smoke
def test_mask(frames: int):
    """All four of the first latent frame, the last of the last, nothing between: any 4n + 1 frames."""
    t = (frames + 3) // 4
    mask = np.asarray(flf2v_mask((2, 16, t, 3, 2), frames))
    assert mask.shape == (2, 4, t, 3, 2)
    assert (mask == mask[:1, :, :, :1, :1]).all()
    expected = np.zeros((t, 4))
    expected[-1, 3] = 1
    expected[0] = 1
    np.testing.assert_array_equal(mask[0, :, :, 0, 0].T, expected)


@pytest.mark.parametrize(
    ("mask", "rows"),
    [
        (i2v_mask, [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]),
        (flf2v_mask, [[1, 1, 1, 1], [0, 0, 0, 0], [0, 0, 0, 1]]),
    ],
)
def test_masks_by_hand(mask: Callable, rows: list[list[int]]):
    """Nine frames, three latent frames: picture 0; pictures 1..4; pictures 5..8. A row per latent frame, by channel."""
    found = np.asarray(mask((1, 16, 3, 1, 2), 9))
    np.testing.assert_array_equal(found, np.broadcast_to(np.array(rows).T[None, :, :, None, None], (1, 4, 3, 1, 2)))


def test_mask_of_a_single_picture():
    np.testing.assert_array_equal(i2v_mask((1, 16, 1, 1, 1), 1), np.ones((1, 4, 1, 1, 1)))


def test_conditions():
    """Mask first, then the latent of [first, grey ...] or of [first, grey ..., last]."""
    config = VAEConfig(base=2, multipliers=(1, 1, 1, 1), res_blocks=1)
    vae = drawn(nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0))))
    first, last = jax.random.uniform(jax.random.key(0), (2, 1, 8, 16, 3), minval=-1.0)

    @partial(jax.jit, compiler_options=QUICK)
    def conditions(first: jax.Array, last: jax.Array) -> tuple[jax.Array, jax.Array]:
        return i2v_condition(vae, first, 9), flf2v_condition(vae, first, last, 9)

    one, two = conditions(first, last)
    grey = [jnp.zeros_like(first)] * 7
    clips = jnp.concatenate([jnp.stack([first, *grey, end], axis=1) for end in (grey[0], last)])
    latents = jax.jit(vae.encode, compiler_options=QUICK)(clips)
    for found, latent, mask in zip((one, two), latents, (i2v_mask, flf2v_mask), strict=True):
        np.testing.assert_array_equal(found[:, :4], mask((1, 16, 3, 1, 2), 9))
        np.testing.assert_allclose(found[0, 4:], latent, atol=1e-5)


@pytest.mark.parametrize("recipe", [i2v_sequence, flf2v_sequence])
def test_sequence(recipe: Callable):
    latent, condition = jnp.ones((1, 16, 2, 4, 4)), jnp.full((1, 20, 2, 4, 4), 2.0)
    sequence = recipe(latent, condition, jnp.array([7.0]), jnp.zeros((1, 3, 5)))
    (segment,) = sequence.segments
    assert segment.latent.shape == (1, 36, 2, 4, 4) and segment.target
    np.testing.assert_array_equal(segment.latent[0, :, 0, 0, 0], [1] * 16 + [2] * 20)
    np.testing.assert_array_equal(segment.positions[0, [0, 3, 4, 7]], [[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(sequence.timesteps, [[7]])
    assert sequence.image_tokens is None
    assert t2v_sequence(latent, jnp.array([7.0]), jnp.zeros((1, 3, 5))).image_tokens is None


def test_image_tokens():
    """One image per example, or the first and the last one behind each other: features count up by example, image, row."""
    latent, condition, timestep, caption = (jnp.zeros(s) for s in ((2, 16, 1, 2, 2), (2, 20, 1, 2, 2), (2,), (2, 3, 5)))
    features = jnp.arange(2 * 2 * 3 * 1.0).reshape(2, 2, 3, 1)
    both = flf2v_sequence(latent, condition, timestep, caption, features)
    np.testing.assert_array_equal(both.image_tokens[..., 0], [[0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]])
    one = i2v_sequence(latent, condition, timestep, caption, features[:, 0])
    np.testing.assert_array_equal(one.image_tokens[..., 0], [[0, 1, 2], [6, 7, 8]])


def test_clean_first_frame():
    """Latent frame 0 at timestep 0, frames 1 and 2 at the example's; all are targets with one caption."""
    first, rest = jnp.ones((2, 48, 1, 2, 4)), jnp.full((2, 48, 2, 2, 4), 2.0)
    sequence = ti2v_sequence(first, rest, jnp.array([640.0, 20.0]), jnp.zeros((2, 3, 5)))
    np.testing.assert_array_equal(sequence.timesteps, [[640, 0], [20, 0]])
    clean, noisy = sequence.segments
    assert clean.target and noisy.target and (clean.t_slot, noisy.t_slot) == (1, 0)
    np.testing.assert_array_equal(clean.latent, first)
    np.testing.assert_array_equal(noisy.latent, rest)
    np.testing.assert_array_equal(clean.positions, [[[0, 0, 0], [0, 0, 1]]])
    np.testing.assert_array_equal(noisy.positions, [[[1, 0, 0], [1, 0, 1], [2, 0, 0], [2, 0, 1]]])
    assert sequence.captions.shape == (2, 1, 3, 5) and sequence.image_tokens is None
