"""Rotary positions over (t, y, x) as in Wan, from any positions, fractions included.

Wan rotates neighbouring pairs of a head's channels. Rotating the two halves of a head is the same operation after the
channels (even ones first, then odd ones) are reordered, and it is much faster; queries and keys are reordered alike, so
the attention is the same. The reordering happens on the projection kernels at call time, so stored weights keep Wan's
order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def axis_channels(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's channels turn with t, y and x: d - 4*(d//6), 2*(d//6), 2*(d//6) (44, 42, 42 for 128)."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def rotations(
    positions: Float[Array, "*b n 3"], head_dim: int, theta: float
) -> tuple[Float[Array, "*b n half"], Float[Array, "*b n half"]]:
    """Cosines and sines of the angle of every channel pair, in float32. The frequencies of an axis of d channels:
    theta^(-2i/d).
    """
    angles = [
        positions[..., axis, None].astype(jnp.float32)
        * jnp.asarray(theta ** (-np.arange(0, channels, 2, dtype=np.float64) / channels), jnp.float32)
        for axis, channels in enumerate(axis_channels(head_dim))
    ]
    angle = jnp.concatenate(angles, axis=-1)
    # Made in a loop, because XLA on the CPU fuses plain cosines into every layer that reads them and makes them there again.
    cos, sin = jax.lax.map(lambda sine: jnp.where(sine, jnp.sin(angle), jnp.cos(angle)), jnp.array([False, True]))
    return cos, sin


def even_first(features: Float[Array, "*a dim"], heads: int) -> Float[Array, "*a dim"]:
    """Reorder the last axis so that in each head the even channels come first and the odd ones after them."""
    *lead, dim = features.shape
    return features.reshape(*lead, heads, dim // heads // 2, 2).swapaxes(-1, -2).reshape(*lead, dim)


def rotate_halves(
    x: Float[Array, "b h n d"], cos: Float[Array, "b_or_1 1 n half"], sin: Float[Array, "b_or_1 1 n half"]
) -> Float[Array, "b h n d"]:
    """Rotate (first half, second half) of each head, whose channels `even_first` has ordered; computed in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1).astype(x.dtype)
