"""Changes of size without parameters, which Wan2.2's VAE adds around its stages, and the patches of pixels it begins with."""

from __future__ import annotations

import einops
import jax.numpy as jnp
from jaxtyping import Array, Float


def average_down(
    x: Float[Array, "b t h w c"], channels: int, time: int, space: int
) -> Float[Array, "b s y x channels"]:
    """Boxes of `time` frames and `space` by `space` cells, unfolded into channels, and groups of those averaged. The first
    frame stands alone: zeros are put before it."""
    x = jnp.pad(x, ((0, 0), (-x.shape[1] % time, 0), (0, 0), (0, 0), (0, 0)))
    x = einops.rearrange(x, "b (t i) (h j) (w k) c -> b t h w (c i j k)", i=time, j=space, k=space)
    return x.reshape(*x.shape[:-1], channels, -1).mean(axis=-1)


def repeat_up(
    x: Float[Array, "b t h w c"], channels: int, time: int, space: int, *, first: bool
) -> Float[Array, "b s y x channels"]:
    """The way back: channels repeated and folded out into boxes. first: the first frame of `x` is the first of the clip,
    which becomes one frame only."""
    x = jnp.repeat(x, channels * time * space * space // x.shape[-1], axis=-1)
    x = einops.rearrange(x, "b t h w (c i j k) -> b (t i) (h j) (w k) c", i=time, j=space, k=space)
    return x[:, time - 1 :] if first else x


def split_patches(x: Float[Array, "b t h w c"], side: int) -> Float[Array, "b t y x d"]:
    """Squares of pixels into channels; the column counts before the row."""
    return einops.rearrange(x, "b t (h j) (w k) c -> b t h w (c k j)", j=side, k=side)


def join_patches(x: Float[Array, "b t y x d"], side: int) -> Float[Array, "b t h w c"]:
    """The inverse of `split_patches`."""
    return einops.rearrange(x, "b t h w (c k j) -> b t (h j) (w k) c", j=side, k=side)
