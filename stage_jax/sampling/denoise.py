"""Following the velocity from noise to data, a row of the solver's table at a time."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from stage_jax.models.sequence import AnyArray, pytree
from stage_jax.sampling.solver import Solver, Velocity


@pytree(data=("latent", "start", "data", "before", "step"))
@dataclass(frozen=True)
class Denoising:
    """Where a denoising stands, float32: a plain pytree that holds all that the rest of the way depends on.

    latent: x. start: the (corrected) latent that the last step started from. data: the prediction of the data m of the last
    step; before: that of the step before. step: the index of the next step.
    """

    latent: Float[AnyArray, "b *rest"]
    start: Float[AnyArray, "b *rest"]
    data: Float[AnyArray, "b *rest"]
    before: Float[AnyArray, "b *rest"]
    step: Int[AnyArray, ""]


def begin(noise: Float[AnyArray, "b *rest"]) -> Denoising:
    """Before the first step."""
    latent = jnp.asarray(noise, jnp.float32)
    return Denoising(latent, *(jnp.zeros_like(latent) for _ in range(3)), np.zeros((), np.int32))


def take_step(velocity: Velocity, at: Denoising, solver: Solver) -> Denoising:
    """The step `at.step`: evaluate, correct the latent, predict the next one."""
    row = jax.tree.map(lambda column: jnp.asarray(column)[at.step], solver)
    timestep = jnp.full(at.latent.shape[:1], row.timesteps)
    data = at.latent - row.sigmas * velocity(at.latent, timestep).astype(jnp.float32)
    corrected = _combine(row.corrector, at.latent, at.start, at.data, at.before, data)
    latent = _combine(row.predictor, corrected, data, at.data)
    return Denoising(latent, corrected, data, at.data, at.step + 1)


def denoise(velocity: Velocity, noise: Float[Array, "b *rest"], solver: Solver) -> Float[Array, "b *rest"]:
    """All steps of the solver as one loop; for use inside the caller's `jax.jit`."""
    return jax.lax.fori_loop(0, solver.steps, lambda _, at: take_step(velocity, at, solver), begin(noise)).latent


def _combine(weights: Float[Array, " n"], *terms: Float[Array, "b *rest"]) -> Float[Array, "b *rest"]:
    """Products and sums, because a dot product of float32 rounds its inputs to bfloat16 on a TPU."""
    return sum(weight * term for weight, term in zip(weights, terms, strict=True))
