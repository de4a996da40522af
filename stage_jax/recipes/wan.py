"""Wan's own tasks as token sequences: one caption, and one target segment; two where Wan2.2's 5B is given the first frame."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from stage_jax.models.dit import DiT
from stage_jax.models.sequence import Segment, TokenSequence, grid_positions, pytree
from stage_jax.models.vae import VAE
from stage_jax.models.vae_chunks import Take

MASK_CHANNELS = 4  # one per frame of a latent frame: 1 where the picture is given


@pytree(data=("caption", "condition", "image_tokens", "first"))
@dataclass(frozen=True)
class Given:
    """What a velocity depends on besides latent and timestep; what a task does not have is None.

    condition: `i2v_condition` or `flf2v_condition`. image_tokens: CLIP features of the pictures, those of an example one
    after the other. first: the clean latent of the first picture (Wan2.2's 5B).
    """

    caption: Float[Array, "b l d"]
    condition: Float[Array, "b 20 t h w"] | None = None
    image_tokens: Float[Array, "b m e"] | None = None
    first: Float[Array, "b 48 1 h w"] | None = None


def wan_velocity(
    dit: DiT, latent: Float[Array, "b c t h w"], timestep: Float[Array, " b"], given: Given
) -> Float[Array, "b c t h w"]:
    """The velocity of a noisy latent in the task that `given` makes. With `first`, the latent begins after it."""
    if given.first is not None:
        return dit(ti2v_sequence(given.first, latent, timestep, given.caption)).outputs[1]
    if given.condition is not None:
        return dit(i2v_sequence(latent, given.condition, timestep, given.caption, given.image_tokens)).outputs[0]
    return dit(t2v_sequence(latent, timestep, given.caption)).outputs[0]


def t2v_sequence(
    latent: Float[Array, "b c t h w"], timestep: Float[Array, " b"], caption: Float[Array, "b l d"]
) -> TokenSequence:
    """Text to video; for image and first/last-frame models `latent` carries its 20 channels of conditioning already."""
    return _one_segment(latent, timestep, caption, None)


def i2v_sequence(
    latent: Float[Array, "b 16 t h w"],
    condition: Float[Array, "b 20 t h w"],
    timestep: Float[Array, " b"],
    caption: Float[Array, "b l d"],
    image_tokens: Float[Array, "b m e"] | None = None,
) -> TokenSequence:
    """First frame to video: 36 input channels, noisy latent first. image_tokens: CLIP features of the first frame, 257 rows,
    for Wan2.1; Wan2.2 has none.
    """
    return _one_segment(jnp.concatenate([latent, condition], axis=1), timestep, caption, image_tokens)


def flf2v_sequence(
    latent: Float[Array, "b 16 t h w"],
    condition: Float[Array, "b 20 t h w"],
    timestep: Float[Array, " b"],
    caption: Float[Array, "b l d"],
    image_tokens: Float[Array, "b 2 m e"] | None = None,
) -> TokenSequence:
    """First and last frame to video: 36 input channels, noisy latent first. image_tokens: CLIP features of the first and of
    the last frame, 257 rows each, for a model that reads them.
    """
    if image_tokens is not None:
        image_tokens = image_tokens.reshape(image_tokens.shape[0], -1, image_tokens.shape[-1])
    return i2v_sequence(latent, condition, timestep, caption, image_tokens)


def ti2v_sequence(
    first: Float[Array, "b 48 1 h w"],
    rest: Float[Array, "b 48 t h w"],
    timestep: Float[Array, " b"],
    caption: Float[Array, "b l d"],
) -> TokenSequence:
    """First frame to video with Wan2.2's 5B: `first` is the clean latent of the picture, at timestep 0, and `rest` the noisy
    latent frames 1..t after it. Both are targets; the second output is the velocity of `rest`.
    """
    height, width = first.shape[3:]
    times = range(1, 1 + rest.shape[2])
    segments = (
        Segment(first, grid_positions(1, height, width)[None], t_slot=1),
        Segment(rest, grid_positions(len(times), height, width, times=times)[None]),
    )
    return TokenSequence(segments, jnp.stack([timestep, jnp.zeros_like(timestep)], axis=1), caption[:, None])


def i2v_condition(vae: VAE, first: Float[Array, "b h w 3"], frames: int) -> Float[Array, "b 20 t y x"]:
    """Mask (4 channels) and latent of a clip whose first picture is given and whose others are mid-grey (0)."""
    latent = vae.encode_frames(_given_frames(first, None, frames), frames)
    return jnp.concatenate([i2v_mask(latent.shape, frames), latent], axis=1)


def flf2v_condition(
    vae: VAE, first: Float[Array, "b h w 3"], last: Float[Array, "b h w 3"], frames: int
) -> Float[Array, "b 20 t y x"]:
    """Mask (4 channels) and latent of a clip whose first and last pictures are given and whose others are mid-grey (0)."""
    latent = vae.encode_frames(_given_frames(first, last, frames), frames)
    return jnp.concatenate([flf2v_mask(latent.shape, frames), latent], axis=1)


def i2v_mask(latent_shape: tuple[int, ...], frames: int) -> Float[Array, "b 4 t y x"]:
    """1 for the given picture. It stands for all four of its latent frame, so that `frames` + 3 = 4 * t."""
    return _mask(latent_shape, jnp.zeros(frames + 3).at[:4].set(1.0))


def flf2v_mask(latent_shape: tuple[int, ...], frames: int) -> Float[Array, "b 4 t y x"]:
    """1 for given pictures. The first picture stands for all four of its latent frame, so that `frames` + 3 = 4 * t."""
    return _mask(latent_shape, jnp.zeros(frames + 3).at[:4].set(1.0).at[-1].set(1.0))


def _one_segment(
    latent: Float[Array, "b c t h w"],
    timestep: Float[Array, " b"],
    caption: Float[Array, "b l d"],
    image_tokens: Float[Array, "b m e"] | None,
) -> TokenSequence:
    segment = Segment(latent=latent, positions=grid_positions(*latent.shape[2:])[None])
    return TokenSequence((segment,), timestep[:, None], caption[:, None], image_tokens)


def _given_frames(first: Float[Array, "b h w 3"], last: Float[Array, "b h w 3"] | None, frames: int) -> Take:
    """A clip of mid-grey between given pictures, made chunk by chunk: as a whole it would take the memory of the video."""

    def take(start: int | Int[Array, ""], count: int) -> Float[Array, "b n h w 3"]:
        number = (start + jnp.arange(count))[:, None, None, None]
        clip = jnp.where(number == 0, first[:, None], 0)
        return clip if last is None else jnp.where(number == frames - 1, last[:, None], clip)

    return take


def _mask(latent_shape: tuple[int, ...], given: Float[Array, " f"]) -> Float[Array, "b 4 t y x"]:
    b, _, t, y, x = latent_shape
    return jnp.broadcast_to(given.reshape(t, MASK_CHANNELS).T[None, :, :, None, None], (b, MASK_CHANNELS, t, y, x))
