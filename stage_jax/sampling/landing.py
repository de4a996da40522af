"""Letting a clip end on the picture that it was given.

A video VAE keeps four frames in one latent frame, so that the last frame of a clip is drawn less sharply than the same picture
as a still, and a first/last-frame model cannot know by how much. Landing asks the decoder itself: the last latent frame is
moved, by gradients through the decoder, until its last picture is the given one, while the pictures before it stay what they
were. Nothing is pasted: every frame is the decoder's. This is our addition; neither STAGE nor Wan has it. (Fitting a latent to
a known picture by gradients through the decoder is known from inverse problems, e.g. ReSample, Song et al. 2024.)
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from stage_jax.models.vae import VAE

RATE = 0.05
"""Adam's learning rate, in standard deviations of a latent (our choice)."""
HOLD = 1.0
"""How much the pictures between count beside the last one, by their mean squared error (our choice)."""


def land(
    vae: VAE, latents: Float[Array, "b c s y x"], last: Float[Array, "b h w 3"], steps: int, *, rate: float = RATE,
    hold: float | Float[Array, ""] = HOLD,
) -> Float[Array, "b c s y x"]:
    """The latents with their last frame moved so that the clips end on the pictures `last` (in [-1, 1]). steps: of Adam, each
    a pass of the last four frames through the decoder and back; none for a still, which has no frames before."""
    if latents.shape[2] < 2 or not steps:
        return latents
    kept = vae.before_next(latents[:, :, :-1])
    begin = latents[:, :, -1:]
    between = vae.decode_next(begin, kept)[:, :-1]

    def distance(end: Float[Array, "b c 1 y x"]) -> Float[Array, ""]:
        made = vae.decode_next(end, kept)
        off = jnp.square(made[:, -1] - last).mean((1, 2, 3)) + hold * jnp.square(made[:, :-1] - between).mean((1, 2, 3, 4))
        return off.sum()  # a clip's own, so that a batch of clips is each of them alone

    adam = optax.adam(optax.cosine_decay_schedule(rate, steps))

    def step(_, carry):
        end, state = carry
        updates, state = adam.update(jax.grad(distance)(end), state)
        return optax.apply_updates(end, updates), state

    end, _ = jax.lax.fori_loop(0, steps, step, (begin, adam.init(begin)))
    return jnp.concatenate([latents[:, :, :-1], end], axis=2)
