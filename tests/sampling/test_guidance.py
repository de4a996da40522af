"""Guidance: the formula, one batched pass, the rescaling of norms."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.sampling.guidance import guidance_scale, guided, guided_velocity, norm_rescaled


def test_guidance():
    with_caption, without = jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0])
    np.testing.assert_array_equal(guided(with_caption, without, 1.0), with_caption)
    np.testing.assert_array_equal(guided(with_caption, without, 0.0), without)
    np.testing.assert_array_equal(guided(with_caption, without, jnp.float32(2.5)), [6.0, 1.0])


def test_one_pass_over_both_branches():
    """As two passes by hand; conditions of one row are broadcast; the model is called once."""
    calls = []

    def model(latent, timestep, conditions):
        calls.append(latent.shape[0])
        return jnp.tanh(latent * conditions["caption"]) + conditions["picture"] + 0.001 * timestep[:, None]

    latent, picture, caption = jax.random.normal(jax.random.key(0), (3, 2, 4))
    timestep, empty = jnp.array([700.0, 20.0]), jnp.full((1, 4), 0.3)
    velocity = guided_velocity(
        model, {"caption": caption, "picture": picture}, {"caption": empty, "picture": picture}, jnp.float32(3.5)
    )
    found = velocity(latent, timestep)
    assert calls == [4]
    rest = picture + 0.001 * timestep[:, None]
    by_hand = guided(jnp.tanh(latent * caption) + rest, jnp.tanh(latent * 0.3) + rest, 3.5)
    np.testing.assert_allclose(found, by_hand, atol=1e-5)


def test_without_guidance_there_is_one_branch():
    calls = []

    def model(latent, timestep, caption):
        calls.append(latent.shape[0])
        return latent * caption

    latent, caption = jnp.ones((2, 4)), jnp.full((2, 4), 5.0)
    assert guidance_scale(1.0) is None and guidance_scale(2.5) == 2.5
    found = guided_velocity(model, caption, jnp.zeros((1, 4)), guidance_scale(1.0))(latent, jnp.zeros(2))
    np.testing.assert_array_equal(found, caption)
    assert calls == [2]


@pytest.mark.parametrize(("shape", "axis"), [((2, 16, 3, 4, 6), 1), ((2, 2, 16, 4, 6), 2)])
def test_rescaled_velocity_has_the_conditional_norm(shape: tuple[int, ...], axis: int):
    """Token by token, and it keeps its direction."""
    velocity, conditional = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    found = np.asarray(jax.jit(functools.partial(norm_rescaled, axis=axis))(velocity, conditional))
    np.testing.assert_allclose(np.linalg.norm(found, axis=axis), np.linalg.norm(conditional, axis=axis), rtol=1e-5)
    ratio = found / velocity
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio.max(axis, keepdims=True), shape), rtol=1e-4)
    assert (ratio > 0).all() and ratio.std() > 0.01


def test_rescaling_packed_patches():
    """With 2x2 cells a token, as on STAGE's packed sequence: [B, h*w, C*4], the norm over its last axis."""
    velocity, conditional = np.random.default_rng(0).standard_normal((2, 2, 16, 1, 4, 6)).astype(np.float32)

    def packed(latent: np.ndarray | jax.Array) -> np.ndarray:
        return np.asarray(latent).reshape(2, 16, 2, 2, 3, 2).transpose(0, 2, 4, 1, 3, 5).reshape(2, 6, 64)

    norm = {k: np.linalg.norm(packed(v), axis=-1, keepdims=True) for k, v in (("v", velocity), ("c", conditional))}
    by_cell, found = jax.jit(lambda *v: (norm_rescaled(*v), norm_rescaled(*v, patch=(2, 2))))(velocity, conditional)
    np.testing.assert_allclose(packed(found), packed(velocity) * norm["c"] / norm["v"], rtol=1e-5)
    assert np.abs(np.asarray(found) - np.asarray(by_cell)).max() > 0.01


def test_a_velocity_of_zero_stays_zero():
    """Without NaN."""
    zero = norm_rescaled(jnp.zeros((1, 4, 2, 2)), jnp.ones((1, 4, 2, 2)))
    np.testing.assert_array_equal(zero, 0)


def test_the_rescaling_is_given_the_conditional_velocity():
    latent, caption = jnp.ones((1, 3, 2, 2)), jnp.full((1, 3, 2, 2), 2.0)
    velocity = guided_velocity(lambda x, t, c: x * c, caption, jnp.full((1, 3, 1, 1), 1.0), jnp.float32(4.0), norm_rescaled)
    np.testing.assert_allclose(velocity(latent, jnp.zeros(1)), caption, rtol=1e-6)  # 5 along the caption's 2, brought back
