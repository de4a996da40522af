"""Classifier-free guidance."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stage_jax.sampling.solver import Velocity

Scale: TypeAlias = Float[Array, ""] | None  # None: no guidance
Rescale = Callable[[Float[Array, "*n"], Float[Array, "*n"]], Float[Array, "*n"]]
Model = Callable[[Float[Array, "b *rest"], Float[Array, " b"], Any], Float[Array, "b *rest"]]


def guided(
    with_caption: Float[Array, "*n"], without: Float[Array, "*n"], scale: float | Float[Array, ""]
) -> Float[Array, "*n"]:
    """without + scale * (with_caption - without); 1 follows the caption as it is, more exaggerates it."""
    return without + scale * (with_caption - without)


def guidance_scale(guidance: float) -> Scale:
    """The scale as an argument of a compiled program. None at 1, where the empty caption has no say: that is a program of its
    own, at half the cost."""
    return None if guidance == 1 else jnp.float32(guidance)


def guided_velocity(model: Model, with_caption: Any, without: Any, scale: Scale, rescale: Rescale | None = None) -> Velocity:
    """The velocity that a solver follows: one forward pass of the model over both branches as one batch.

    model: (latent, timestep, conditions) -> velocity. with_caption, without: its conditions, pytrees of one structure; the
    arrays of `without` are broadcast to the others' shapes. scale: None leaves the second branch out. rescale: of the guided
    velocity, given also the one with the caption; see `norm_rescaled`.
    """
    if scale is None:
        return lambda latent, timestep: model(latent, timestep, with_caption)
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, jnp.broadcast_to(b, a.shape)]), with_caption, without)

    def velocity(latent: Float[Array, "b *rest"], timestep: Float[Array, " b"]) -> Float[Array, "b *rest"]:
        output = model(jnp.concatenate([latent, latent]), jnp.concatenate([timestep, timestep]), both)
        conditional, unconditional = jnp.split(output, 2)
        combined = guided(conditional, unconditional, scale)
        return rescale(combined, conditional) if rescale else combined

    return velocity


def norm_rescaled(
    velocity: Float[Array, "*n"], conditional: Float[Array, "*n"], *, axis: int = 1, patch: tuple[int, int] = (1, 1)
) -> Float[Array, "*n"]:
    """The guided velocity, every token brought to the norm that it has in `conditional` (Qwen-Image, STAGE's release).

    axis: of the channels. patch: latent cells of a token along the last two axes. STAGE's tokens are patches of 2x2 cells, so
    (2, 2) is its rescaling; (1, 1) does it cell by cell.
    """
    guided_norm, wanted = (_token_norm(v, axis, patch) for v in (velocity, conditional))
    return velocity * (wanted / jnp.where(guided_norm > 0, guided_norm, 1))


def _token_norm(v: Float[Array, "*n"], axis: int, patch: tuple[int, int]) -> Float[Array, "*n_with_axis_1"]:
    """Norms over the channels and the cells of a patch, in float32, at every cell."""
    squares = jnp.sum(jnp.square(v.astype(jnp.float32)), axis=axis, keepdims=True)
    *lead, h, w = squares.shape
    cells = squares.reshape(*lead, h // patch[0], patch[0], w // patch[1], patch[1])
    return jnp.sqrt(jnp.broadcast_to(cells.sum((-3, -1), keepdims=True), cells.shape).reshape(squares.shape))
