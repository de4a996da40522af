"""Wan's own tasks as token sequences: one target segment, one caption."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from stage_jax.models.sequence import Segment, TokenSequence, grid_positions
from stage_jax.models.vae import VAE

MASK_CHANNELS = 4  # one per frame of a latent frame: 1 where the picture is given


def t2v_sequence(
    latent: Float[Array, "b c t h w"], timestep: Float[Array, " b"], caption: Float[Array, "b l d"]
) -> TokenSequence:
    """Text to video; for image and first/last-frame models `latent` carries its 20 channels of conditioning already."""
    segment = Segment(latent=latent, positions=grid_positions(*latent.shape[2:])[None])
    return TokenSequence((segment,), timestep[:, None], caption[:, None])


def flf2v_sequence(
    latent: Float[Array, "b 16 t h w"],
    condition: Float[Array, "b 20 t h w"],
    timestep: Float[Array, " b"],
    caption: Float[Array, "b l d"],
) -> TokenSequence:
    """First and last frame to video: 36 input channels, noisy latent first."""
    return t2v_sequence(jnp.concatenate([latent, condition], axis=1), timestep, caption)


def flf2v_condition(
    vae: VAE, first: Float[Array, "b h w 3"], last: Float[Array, "b h w 3"], frames: int
) -> Float[Array, "b 20 t y x"]:
    """Mask (4 channels) and latent of a clip whose first and last pictures are given and whose others are mid-grey (0)."""
    b, h, w, _ = first.shape
    clip = jnp.zeros((b, frames, h, w, 3), first.dtype).at[:, 0].set(first).at[:, -1].set(last)
    latent = vae.encode(clip)
    return jnp.concatenate([flf2v_mask(latent.shape, frames), latent], axis=1)


def flf2v_mask(latent_shape: tuple[int, ...], frames: int) -> Float[Array, "b 4 t y x"]:
    """1 for given pictures. The first picture stands for all four of its latent frame, so that `frames` + 3 = 4 * t."""
    b, _, t, y, x = latent_shape
    given = jnp.zeros(frames + 3).at[:4].set(1.0).at[-1].set(1.0)
    return jnp.broadcast_to(given.reshape(t, MASK_CHANNELS).T[None, :, :, None, None], (b, MASK_CHANNELS, t, y, x))
