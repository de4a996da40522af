"""Noise levels: sigma falls from 1 (noise) to 0 (data); the model hears it as a timestep in [0, 1000]."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

TIMESTEPS = 1000.0


def shift_sigma(sigma: Float[Array | np.ndarray, "*n"], shift: float) -> Float[Array | np.ndarray, "*n"]:
    """Static shift towards noise: shift * s / (1 + (shift - 1) * s)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def euler_sigmas(steps: int, shift: float) -> Float[np.ndarray, " {steps}+1"]:
    """`steps` + 1 levels from 1 to 0, evenly spaced before the shift; on the host, in float64."""
    return shift_sigma(np.linspace(1.0, 0.0, steps + 1), shift)


def sample_sigma(key: PRNGKeyArray, batch: int, shift: float) -> Float[Array, " batch"]:
    """Noise levels for training: stratified over the batch, so that every step sees all levels (our choice), then shifted
    as the sampler shifts them."""
    even = (jnp.arange(batch) + jax.random.uniform(key, (batch,))) / batch
    return shift_sigma(jax.random.permutation(jax.random.fold_in(key, 1), even), shift)
