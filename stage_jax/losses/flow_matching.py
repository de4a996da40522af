"""Flow matching: a straight path from data to noise, and the velocity along it (STAGE, equations 3 and 4).

The papers write x_t = t * data + (1 - t) * noise; here, as in Wan's code, sigma = 1 - t, and the velocity points to the
noise: the same thing with the sign turned.
"""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float


def noised(
    data: Float[Array, "b *rest"], noise: Float[Array, "b *rest"], sigma: Float[Array, " b"]
) -> Float[Array, "b *rest"]:
    """x_sigma = (1 - sigma) * data + sigma * noise, one sigma in [0, 1] per example."""
    s = sigma.reshape(-1, *(1,) * (data.ndim - 1))
    return (1 - s) * data + s * noise


def velocity_target(data: Float[Array, "b *rest"], noise: Float[Array, "b *rest"]) -> Float[Array, "b *rest"]:
    """What the model learns to predict: noise - data, the same at every sigma."""
    return noise - data


def velocity_error(
    predicted: Float[Array, "b *rest"], target: Float[Array, "b *rest"], weight: Float[Array, "b *rest"] | None = None
) -> Float[Array, " b"]:
    """Mean squared error per example; `weight` is normalised to a mean of one first."""
    error = jnp.square(predicted.astype(jnp.float32) - target.astype(jnp.float32)).reshape(target.shape[0], -1)
    if weight is None:
        return error.mean(-1)
    weight = weight.reshape(target.shape[0], -1)
    return (error * weight).sum(-1) / weight.sum(-1)
