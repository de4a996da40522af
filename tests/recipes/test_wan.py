"""First and last frame to video: its mask, its condition and its sequence."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.models.vae import VAE, VAEConfig
from stage_jax.recipes.wan import flf2v_condition, flf2v_mask, flf2v_sequence
from tests.goldens import drawn


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


def test_condition():
    """Mask first, then the latent of [first, grey ..., last]."""
    config = VAEConfig(base=2, multipliers=(1, 1, 1, 1), res_blocks=1)
    vae = drawn(nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0))))
    first, last = jax.random.uniform(jax.random.key(0), (2, 1, 8, 16, 3), minval=-1.0)
    found = jax.jit(lambda a, b: flf2v_condition(vae, a, b, 9))(first, last)
    clip = jnp.stack([first, *[jnp.zeros_like(first)] * 7, last], axis=1)
    np.testing.assert_array_equal(found[:, :4], flf2v_mask((1, 16, 3, 1, 2), 9))
    np.testing.assert_allclose(found[:, 4:], jax.jit(vae.encode)(clip), atol=1e-5)


def test_sequence():
    latent, condition = jnp.ones((1, 16, 2, 4, 4)), jnp.full((1, 20, 2, 4, 4), 2.0)
    sequence = flf2v_sequence(latent, condition, jnp.array([7.0]), jnp.zeros((1, 3, 5)))
    (segment,) = sequence.segments
    assert segment.latent.shape == (1, 36, 2, 4, 4) and segment.target
    np.testing.assert_array_equal(segment.latent[0, :, 0, 0, 0], [1] * 16 + [2] * 20)
    np.testing.assert_array_equal(segment.positions[0, [0, 3, 4, 7]], [[0, 0, 0], [0, 1, 1], [1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(sequence.timesteps, [[7]])
