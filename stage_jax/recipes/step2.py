"""STEP2 (STAGE, section 3): the start and the end frame of a shot, denoised together beside the memory pack.

Both frames are encoded by the VAE one by one and joined along the sequence (dual encoding); they share one timestep, their
noises are independent. The memory is clean and hears timestep 0. Where everything stands is said by positions alone:

| layout | start | end | memory of rank 0, 1, ... |
| --- | --- | --- | --- |
| temporal | time 0 | time 1 | times -1, -2, ...; a smaller frame covers the whole picture |
| stacked | time 0, rows -h..-1 | time 0, rows 0..h-1 | times 1, 2, ...; a grid of its own size, centred |

Rows and columns are counted in tokens; in `stacked`, columns are centred too, as in Qwen-Image.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from stage_jax.losses.flow_matching import noised
from stage_jax.models.dit import DiTOutput
from stage_jax.models.sequence import AnyArray, Segment, TokenSequence, grid_positions, pytree
from stage_jax.recipes.memory import HINTS
from stage_jax.recipes.packing import memory_sizes
from stage_jax.recipes.step2_config import Layout, STEP2Config
from stage_jax.sampling.schedule import TIMESTEPS

PAIR_SLOT, MEMORY_SLOT = 0, 1  # timestep slots: the pair's, and the memory's: 0, for it is clean


@pytree(data=("latents", "valid", "hints", "noise", "level"))
@dataclasses.dataclass(frozen=True)
class Memory:
    """A packed memory: the frames in the order of `recipes.memory.pack`, absent ones at the end.

    latents: at full size, they are made smaller here. valid: which places hold a frame. hints: see `recipes.memory`. noise,
    level: where a recipe noises its memory, standard normal noise and the level of each example; else None."""

    latents: Float[AnyArray, "b slots c h w"]
    valid: Bool[AnyArray, "b slots"]
    hints: Float[AnyArray, "b slots k"]
    noise: Float[AnyArray, "b slots c h w"] | None = None
    level: Float[AnyArray, " b"] | None = None


@pytree(data=("caption", "memory", "image_tokens", "shown"))
@dataclasses.dataclass(frozen=True)
class Given:
    """What a pair's velocity depends on besides latent and timestep.

    image_tokens: CLIP features of the previous end frame, zeros where there is none; None unless the recipe has them. shown:
    which of the two frames are there; None: both, in all examples. A frame that is not there has no velocity to speak of."""

    caption: Float[AnyArray, "b l d"]
    memory: Memory
    image_tokens: Float[AnyArray, "b m e"] | None = None
    shown: Bool[AnyArray, "b 2"] | None = None


def pair_sequence(
    pair: Float[Array, "b 2 c h w"], timestep: Float[Array, " b"], given: Given, recipe: STEP2Config
) -> TokenSequence:
    """The sequence for a noisy pair. Hints are further input channels behind the latent's, zero for the pair. Where frames are
    denoised separately, the batch is twice as large: all start frames, then all end frames."""
    b, _, _, h, w = pair.shape
    places = pair_positions(recipe.layout, h, w)
    latent = jnp.moveaxis(pair, 1, 2)
    shown = given.shown if given.shown is None else jnp.repeat(given.shown, places.shape[1], axis=1)
    if not recipe.joint:
        latent = jnp.concatenate([latent[:, :, :1], latent[:, :, 1:]])
        shown = shown if shown is None else jnp.concatenate(jnp.split(shown, 2, axis=1))
        timestep = jnp.concatenate([timestep, timestep])
        given = jax.tree.map(lambda x: jnp.concatenate([x, x]), dataclasses.replace(given, shown=None))
    blank = (latent.shape[0], HINTS, *latent.shape[2:])
    target = Segment(
        latent=jnp.concatenate([latent, jnp.zeros(blank, pair.dtype)], axis=1) if recipe.hints else latent,
        positions=places.reshape(1, -1, 3) if recipe.joint else np.repeat(places, b, axis=0),
        valid=shown,
    )
    told = jnp.zeros_like(timestep) if given.memory.level is None else given.memory.level * TIMESTEPS
    timesteps = jnp.stack([timestep, told], axis=1)
    segments = (target, *_memory_segments(given.memory, recipe))
    return TokenSequence(segments, timesteps, jnp.asarray(given.caption)[:, None], given.image_tokens)


def pair_velocity(output: DiTOutput, recipe: STEP2Config) -> Float[Array, "b 2 c h w"]:
    """The velocity of the pair, the only target: what the model puts out at places of the memory goes nowhere."""
    velocity = output.outputs[0]
    if not recipe.joint:
        velocity = jnp.concatenate(jnp.split(velocity, 2), axis=2)
    return jnp.moveaxis(velocity, 2, 1)


def pair_positions(layout: Layout, height: int, width: int) -> Float[np.ndarray, "2 n 3"]:
    """Positions (t, y, x) of the start frame's tokens and of the end frame's."""
    if layout == "temporal":
        return grid_positions(2, height, width, times=(0.0, 1.0)).reshape(2, -1, 3)
    return centred_positions(0.0, height * 2, width).reshape(2, -1, 3)


def centred_positions(time: float, height: int, width: int) -> Float[np.ndarray, "n 3"]:
    """Positions of a grid whose tokens are one apart, with (0, 0) behind its middle: rows -(h - h // 2) to h // 2 - 1."""
    places = grid_positions(1, height, width, times=(time,))
    middle = [side // 2 - side // 4 for side in (height, width)]
    return places - np.array([0, *middle], np.float32)


def memory_positions(layout: Layout, rank: int, size: tuple[int, int], full: tuple[int, int]) -> Float[np.ndarray, "n 3"]:
    """Positions of a memory frame of `size` latents, out of frames of the size `full`."""
    if layout == "temporal":
        return grid_positions(1, *size, times=(-1.0 - rank,), full=full)
    return centred_positions(1.0 + rank, *size)


def _memory_segments(memory: Memory, recipe: STEP2Config) -> list[Segment]:
    b, _, c, *full = memory.latents.shape
    segments = []
    for rank, (rows, columns) in enumerate(memory_sizes(recipe, *full)):
        latent = memory.latents[:, rank]
        if [rows, columns] != full:
            latent = jax.image.resize(latent, (b, c, rows, columns), "linear", antialias=True)
        if memory.level is not None:  # noise of the small frame's own, or its level would not be what is told
            latent = noised(latent, memory.noise[:, rank, :, :rows, :columns], memory.level)
        if recipe.hints:
            hints = jnp.broadcast_to(memory.hints[:, rank, :, None, None], (b, HINTS, rows, columns))
            latent = jnp.concatenate([latent, hints.astype(latent.dtype)], axis=1)
        positions = memory_positions(recipe.layout, rank, (rows, columns), tuple(full))[None]
        segments.append(
            Segment(
                latent=latent[:, :, None],
                positions=positions,
                valid=jnp.broadcast_to(memory.valid[:, rank, None], (b, positions.shape[1])),
                target=False,
                t_slot=MEMORY_SLOT,
            )
        )
    return segments
