"""Denoising with large models: one compiled program that takes a few steps a call, and parameters that come and go.

Between two calls the host can tell how far it is, stop, or put another expert's parameters in place (Wan2.2: one for high
noise, one for low noise). However the steps are cut into chunks, the numbers are the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Float, Int

from stage_jax.models.sequence import AnyArray
from stage_jax.sampling.denoise import Denoising, take_step
from stage_jax.sampling.guidance import Scale, guidance_scale
from stage_jax.sampling.schedule import TIMESTEPS
from stage_jax.sampling.solver import Solver, Velocity

ROWS = 64  # tables are padded to a multiple of it, so that one program serves all usual numbers of steps

Field = Callable[[Any, Any, Scale], Velocity]
Program = Callable[..., Denoising]


@dataclass(frozen=True)
class Expert:
    """A model for part of the noise levels.

    load: gives its parameters. Only the caller of `load` holds them, so that they are freed before the next expert's are
    loaded; a `load` that remembers them itself (`functools.cache`) keeps them on the device from run to run. guidance: its
    scale. boundary: it serves the steps whose timestep is at least 1000 times this, as far as no expert before it does.
    """

    load: Callable[[], Any]
    guidance: float = 1.0
    boundary: float = 0.0


class Stopped(Exception):
    """A denoising that was asked to stop. at: where it stands; run on from there with `run_chunks`."""

    def __init__(self, at: Denoising):
        super().__init__(f"stopped before step {int(at.step) + 1}")
        self.at = at


def chunk_program(field: Field) -> Program:
    """The program for `run_chunks`, to be made once and used for every run.

    field: (parameters, inputs, scale) -> velocity, traced inside; what it computes before it returns is done once per chunk.
    inputs: captions, conditioning and the like, any pytree. scale: the expert's guidance, None where it is 1.
    """

    def run(
        params: Any, inputs: Any, scale: Scale, at: Denoising, solver: Solver, last: Int[Array, ""], placement: Sharding
    ) -> Denoising:
        velocity = field(params, inputs, scale)
        at = jax.lax.while_loop(lambda at: at.step < last, lambda at: take_step(velocity, at, solver), at)
        # Left to itself, XLA may return the latents laid out in another way, for which the next chunk is compiled again.
        return _map_latents(lambda x: jax.lax.with_sharding_constraint(x, placement), at)

    return jax.jit(run, donate_argnames="at", static_argnames="placement")


def run_chunks(
    program: Program,
    experts: Sequence[Expert],
    inputs: Any,
    start: Denoising,
    solver: Solver,
    *,
    chunk: int = 5,
    progress: Callable[[int, int], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Float[Array, "b *rest"]:
    """The latent after the solver's last step.

    experts: from high noise to low noise. start: `begin(noise)`, or where an earlier run stopped; it is left as it is. On
    several devices its latent lies where latents are to lie. chunk: steps a call, at most; a chunk ends where the next expert
    begins. progress: told (steps done, all steps) after every chunk. stop: asked before every chunk; yes raises `Stopped`.
    ValueError if a step has no expert, or a chunk no step.
    """
    if chunk < 1:
        raise ValueError(f"chunks of {chunk} steps")
    placement = jnp.asarray(start.latent).sharding
    # A copy, because the program takes over the memory of what it is given.
    at = _map_latents(lambda x: jax.device_put(x, placement, may_alias=False), start)
    table = solver.padded(-(-solver.steps // ROWS) * ROWS)
    serving, params = None, None
    for expert, first, last in _chunks(_experts_of(experts, solver), int(start.step), chunk):
        if stop and stop():
            params = None  # whoever holds the exception holds this frame, and shall not hold the weights
            raise Stopped(at)
        if expert is not serving:
            params = None  # before the next ones are loaded: the device need not hold both
            serving, params = expert, expert.load()
        at = replace(at, step=np.asarray(first, np.int32))
        at = program(params, inputs, guidance_scale(expert.guidance), at, table, last, placement)
        jax.block_until_ready(at)
        if progress:
            progress(last, solver.steps)
    return at.latent


def _map_latents(place: Callable[[Float[AnyArray, "..."]], Float[Array, "..."]], at: Denoising) -> Denoising:
    return Denoising(*(place(x) for x in (at.latent, at.start, at.data, at.before)), at.step)


def _experts_of(experts: Sequence[Expert], solver: Solver) -> list[Expert]:
    """The expert of every step."""
    found = [next((e for e in experts if t >= TIMESTEPS * e.boundary), None) for t in np.asarray(solver.timesteps)]
    if None in found:
        raise ValueError(f"experts: none serves the timestep {solver.timesteps[found.index(None)]}")
    return found


def _chunks(experts: Sequence[Expert], first: int, chunk: int) -> Iterator[tuple[Expert, int, int]]:
    """(expert, first step, the step after the last) of every chunk that is left."""
    while first < len(experts):
        same = [e is experts[first] for e in experts[first : first + chunk]]
        last = first + (same.index(False) if False in same else len(same))
        yield experts[first], first, last
        first = last
