"""Chunks of steps: one program, stopping and going on, experts that come and go."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.sampling.chunks import Expert, Program, Stopped, chunk_program, run_chunks
from stage_jax.sampling.denoise import Denoising, begin, denoise
from stage_jax.sampling.guidance import guided, guided_velocity
from stage_jax.sampling.named import solver_named

ROOT = Path(__file__).resolve().parents[2]
NOISE = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
CAPTION = np.random.default_rng(1).standard_normal((2, 3, 4)).astype(np.float32)


def weight(value: float) -> dict[str, jax.Array]:
    return {"w": jnp.full((4, 4), value) + jnp.eye(4)}


def model(params: Any, latent: jax.Array, timestep: jax.Array, caption: jax.Array) -> jax.Array:
    return jnp.tanh(latent @ params["w"]) * caption + jnp.cos(timestep / 300)[:, None, None] * latent


def counted() -> tuple[Program, list[int]]:
    """A program with guidance, and a list that grows whenever it is traced."""
    traces = []

    def field(params, inputs, scale):
        traces.append(1)
        return guided_velocity(lambda x, t, c: model(params, x, t, c), inputs, jnp.ones((1, 1, 1)), scale)

    return chunk_program(field), traces


@pytest.fixture(scope="module")
def program() -> Program:
    return counted()[0]


def stop_after(chunks: int) -> Callable[[], bool]:
    asked = iter(range(100))
    return lambda: next(asked) >= chunks


@pytest.mark.parametrize("chunk", [1, 5, 40])
def test_chunks_are_the_whole(program: Program, chunk: int):
    """Bit for bit among themselves, and the one loop to rounding; progress is told after every chunk."""
    solver, seen = solver_named("unipc", 12, 5.0), []
    experts = [Expert(lambda: weight(0.1), 3.0)]
    found = run_chunks(program, experts, CAPTION, begin(NOISE), solver, chunk=chunk, progress=lambda *a: seen.append(a))
    assert seen == [(min(done, 12), 12) for done in range(chunk, 12 + chunk, chunk)]
    np.testing.assert_array_equal(found, run_chunks(program, experts, CAPTION, begin(NOISE), solver, chunk=7))

    def velocity(x, t):
        return guided(model(weight(0.1), x, t, CAPTION), model(weight(0.1), x, t, jnp.ones(())), 3.0)

    np.testing.assert_allclose(found, jax.jit(denoise, static_argnums=0)(velocity, NOISE, solver), rtol=2e-5, atol=2e-5)


def test_one_program_serves_all():
    """Chunks (the short last one too), runs, solvers, numbers of steps, prompts, scales and experts; committed or not."""
    program, traces = counted()
    experts = [Expert(lambda: weight(0.1), 4.0, 0.9), Expert(lambda: weight(0.2), 3.0)]
    for name, steps in (("unipc", 12), ("dpm++", 50), ("euler", 3)):
        run_chunks(program, experts, steps * CAPTION, begin(NOISE), solver_named(name, steps, 5.0))
    assert len(traces) == 1 and program._cache_size() == 1
    placed = jax.device_put(weight(0.1), jax.devices()[0])
    run_chunks(program, [Expert(lambda: placed, 2.0)], CAPTION, begin(NOISE), solver_named("unipc", 12, 5.0))
    run_chunks(program, [Expert(lambda: placed, 2.0)], CAPTION, begin(NOISE), solver_named("unipc", 9, 5.0))
    assert len(traces) == 1 and program._cache_size() == 2
    run_chunks(program, [Expert(lambda: placed, 1.0)], CAPTION, begin(NOISE), solver_named("unipc", 12, 5.0))
    assert len(traces) == 2  # without guidance it is a program of one branch


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_going_on_is_the_same_bit_for_bit(program: Program, chunks: int, tmp_path):
    """After a stop, what is left to do is saved as arrays, read again, and run to the end, twice."""
    solver, experts = solver_named("unipc", 12, 5.0), [Expert(lambda: weight(0.1), 3.0)]
    noise = jnp.asarray(NOISE)
    whole = run_chunks(program, experts, CAPTION, begin(noise), solver, chunk=3)
    with pytest.raises(Stopped, match=f"stopped before step {3 * chunks + 1}$") as stopped:
        run_chunks(program, experts, CAPTION, begin(noise), solver, chunk=3, stop=stop_after(chunks))
    leaves, structure = jax.tree.flatten(stopped.value.at)
    np.savez(tmp_path / "at.npz", *leaves)
    with np.load(tmp_path / "at.npz") as saved:
        at = jax.tree.unflatten(structure, [saved[key] for key in saved])
    assert isinstance(at, Denoising) and at.step == 3 * chunks
    for start in (at, stopped.value.at, stopped.value.at):
        seen = []
        found = run_chunks(program, experts, CAPTION, start, solver, chunk=2, progress=lambda *a: seen.append(a))  # noqa: B023
        np.testing.assert_array_equal(found, whole)
        assert seen[0] == (3 * chunks + 2, 12)
    np.testing.assert_array_equal(noise, NOISE)  # neither noise nor start were given away
    finished = dataclasses.replace(at, step=np.asarray(12, np.int32))
    np.testing.assert_array_equal(run_chunks(program, experts, CAPTION, finished, solver), at.latent)


def loader(value: float, living: list[weakref.ref], loads: list[float]) -> Callable[[], Any]:
    """Loads parameters and remembers how many others were alive at that time."""

    def load() -> Any:
        loads.append((value, sum(ref() is not None for ref in living)))
        params = weight(value)
        living.append(weakref.ref(params["w"]))
        return params

    return load


def test_two_experts(program: Program):
    """The result of a loop over two models by hand (Euler), each with its own guidance; the first is gone when the second is
    loaded, both are gone in the end, and no chunk reaches over the change."""
    living, loads, seen = [], [], []
    solver = solver_named("euler", 10, 5.0)
    experts = [Expert(loader(0.3, living, loads), 4.0, 0.875), Expert(loader(-0.2, living, loads), 3.0)]
    found = run_chunks(program, experts, CAPTION, begin(NOISE), solver, chunk=3, progress=lambda *a: seen.append(a[0]))
    assert loads == [(0.3, 0), (-0.2, 0)] and all(ref() is None for ref in living)
    assert np.sum(solver.timesteps >= 875) == 5 and seen == [3, 5, 8, 10]
    x, sigmas = NOISE.astype(np.float64), np.append(solver.sigmas, 0)
    for i, t in enumerate(solver.timesteps):
        w, scale = (0.3, 4.0) if t >= 875 else (-0.2, 3.0)
        branches = (np.tanh(x @ (np.full((4, 4), w) + np.eye(4))) * c + np.cos(t / 300) * x for c in (CAPTION, 1.0))
        conditional, unconditional = branches
        x = x + (sigmas[i + 1] - sigmas[i]) * (unconditional + scale * (conditional - unconditional))
    np.testing.assert_allclose(found, x, rtol=1e-4, atol=1e-4)


def test_experts_that_are_kept(program: Program):
    """A `load` that remembers what it gave is asked, but loads once; the other expert's are alive then."""
    living, loads = [], []
    experts = [
        Expert(functools.cache(loader(0.3, living, loads)), 4.0, 0.875),
        Expert(functools.cache(loader(-0.2, living, loads)), 3.0),
    ]
    for _ in range(2):
        run_chunks(program, experts, CAPTION, begin(NOISE), solver_named("euler", 10, 5.0))
    assert loads == [(0.3, 0), (-0.2, 1)]


def test_only_the_expert_that_is_needed_is_loaded(program: Program):
    """Going on after the change, the expert for high noise is not asked for."""
    living, loads = [], []
    experts = [Expert(loader(0.3, living, loads), 4.0, 0.875), Expert(loader(-0.2, living, loads), 3.0)]
    at = dataclasses.replace(begin(NOISE), step=np.asarray(5, np.int32))
    run_chunks(program, experts, CAPTION, at, solver_named("euler", 10, 5.0))
    assert [value for value, _ in loads] == [-0.2]


def test_what_cannot_be_run_is_refused(program: Program):
    solver, experts = solver_named("euler", 4, 1.0), [Expert(lambda: weight(0.3), boundary=0.5)]
    with pytest.raises(ValueError, match="none serves the timestep 250"):
        run_chunks(program, experts, CAPTION, begin(NOISE), solver)
    with pytest.raises(ValueError, match="chunks of 0 steps"):
        run_chunks(program, experts, CAPTION, begin(NOISE), solver, chunk=0)


ON_FOUR = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec as P
from stage_jax.sampling.chunks import Expert, chunk_program, run_chunks
from stage_jax.sampling.denoise import begin
from stage_jax.sampling.named import solver_named
mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("data", "fsdp"))
params = jax.device_put(jnp.eye(8), NamedSharding(mesh, P("fsdp")))
noise = jax.device_put(jnp.ones((4, 8)), NamedSharding(mesh, P("data")))
program = chunk_program(lambda params, inputs, scale: lambda x, t: jnp.tanh(x @ params))
latent = run_chunks(program, [Expert(lambda: params)], None, begin(noise), solver_named("unipc", 12, 5.0))
print(program._cache_size(), latent.sharding == noise.sharding)
"""


def test_one_program_on_several_devices():
    """Latents stay as they were laid out, so that later chunks run what was compiled for the first."""
    flags = {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", ON_FOUR], env=os.environ | flags, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "1 True", done.stderr
