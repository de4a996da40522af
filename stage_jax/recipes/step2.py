"""STEP2 (STAGE, section 3): the start and the end frame of a shot, denoised together beside the memory pack.

Both frames are encoded by the VAE one by one and joined along the sequence (dual encoding); they share one timestep, their
noises are independent. The memory is clean and hears timestep 0. Positions in time: start 0, end 1, memory -1, -2, ...
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stage_jax.models.dit import DiTOutput
from stage_jax.models.sequence import AnyArray, Segment, TokenSequence, grid_positions, pytree
from stage_jax.recipes.memory import HINTS, slot_sizes

PAIR_SLOT, MEMORY_SLOT = 0, 1  # timestep slots: the pair's, and 0 for what is clean


@pytree(data=("latents", "valid", "hints"))
@dataclasses.dataclass(frozen=True)
class Memory:
    """A packed memory: slot 0 is the previous end frame, then the ranked frames; absent ones at the end.

    latents: at full size, they are made smaller here. valid: which slots hold a frame. hints: see `recipes.memory`."""

    latents: Float[AnyArray, "b slots c h w"]
    valid: Bool[AnyArray, "b slots"]
    hints: Float[AnyArray, "b slots k"]


def memory_slots(height: int, width: int) -> int:
    """Slots of a pack for frames of this latent size: the previous end frame and the ranked ones."""
    return 1 + len(slot_sizes(height, width))


def pair_sequence(
    pair: Float[Array, "b 2 c h w"], timestep: Float[Array, " b"], caption: Float[Array, "b l d"], memory: Memory
) -> TokenSequence:
    """The sequence for a noisy pair. The hints are further input channels behind the latent's, zero for the pair."""
    b, _, c, h, w = pair.shape
    sizes = ((h, w), *slot_sizes(h, w))
    noisy = jnp.moveaxis(pair, 1, 2)
    target = Segment(
        latent=jnp.concatenate([noisy, jnp.zeros((b, HINTS, 2, h, w), pair.dtype)], axis=1),
        positions=grid_positions(2, h, w, times=(0.0, 1.0))[None],
    )
    segments = [target]
    for slot, (rows, columns) in enumerate(sizes):
        latent = memory.latents[:, slot]
        if (rows, columns) != (h, w):
            latent = jax.image.resize(latent, (b, c, rows, columns), "linear", antialias=True)
        hints = jnp.broadcast_to(memory.hints[:, slot, :, None, None], (b, HINTS, rows, columns))
        positions = grid_positions(1, rows, columns, times=(-1.0 - slot,), full=(h, w))[None]
        segments.append(
            Segment(
                latent=jnp.concatenate([latent, hints.astype(latent.dtype)], axis=1)[:, :, None],
                positions=positions,
                valid=jnp.broadcast_to(memory.valid[:, slot, None], (b, positions.shape[1])),
                target=False,
                t_slot=MEMORY_SLOT,
            )
        )
    timesteps = jnp.stack([timestep, jnp.zeros_like(timestep)], axis=1)
    return TokenSequence(tuple(segments), timesteps, caption[:, None])


def pair_velocity(output: DiTOutput) -> Float[Array, "b 2 c h w"]:
    """The velocity of the pair, the only target."""
    return jnp.moveaxis(output.outputs[0], 2, 1)
