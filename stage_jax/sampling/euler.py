"""Euler's method along the velocity field: the solver of STAGE's release (20 steps)."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stage_jax.sampling.schedule import TIMESTEPS

Velocity = Callable[[Float[Array, "b *rest"], Float[Array, " b"]], Float[Array, "b *rest"]]


def euler(
    velocity: Velocity, noise: Float[Array, "b *rest"], sigmas: Float[Array | np.ndarray, " steps_and_one"]
) -> Float[Array, "b *rest"]:
    """Follows dx/dsigma = velocity(x, timestep) from `noise` at sigmas[0] to sigmas[-1], a step between neighbours."""

    def step(x, pair):
        now, then = pair
        return x + (then - now) * velocity(x, jnp.full(x.shape[0], TIMESTEPS * now)), None

    levels = jnp.asarray(sigmas, noise.dtype)
    return jax.lax.scan(step, noise, jnp.stack([levels[:-1], levels[1:]], axis=1))[0]
