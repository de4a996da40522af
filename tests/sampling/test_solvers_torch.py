"""The solvers beside the schedulers of diffusers, over whole trajectories on the same levels."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.sampling.denoise import begin, take_step
from stage_jax.sampling.dpm import dpm_plus_plus
from stage_jax.sampling.euler import euler
from stage_jax.sampling.schedule import dynamic_shift, euler_sigmas, stage_sigmas, unipc_sigmas
from stage_jax.sampling.unipc import unipc

torch = pytest.importorskip("torch")
schedulers = pytest.importorskip("diffusers.schedulers")
pytestmark = pytest.mark.torch

STEPS = (1, 2, 3, 4, 9, 20)
FLOW = dict(prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000)


def unipc_of_diffusers() -> Any:
    return schedulers.UniPCMultistepScheduler(solver_order=2, solver_type="bh2", lower_order_final=True, **FLOW)


def dpm_of_diffusers() -> Any:
    return schedulers.DPMSolverMultistepScheduler(algorithm_type="dpmsolver++", solver_type="midpoint", **FLOW)


CASES = {  # table, levels, scheduler
    "unipc": (unipc, unipc_sigmas, unipc_of_diffusers),
    "dpm++": (dpm_plus_plus, euler_sigmas, dpm_of_diffusers),
    "dpm++ below noise": (dpm_plus_plus, unipc_sigmas, dpm_of_diffusers),
    "euler": (euler, euler_sigmas, schedulers.FlowMatchEulerDiscreteScheduler),
}
STAGE = {"euler of STAGE": (euler, stage_sigmas, schedulers.FlowMatchEulerDiscreteScheduler)}  # from 2 steps on


@pytest.mark.parametrize(("case", "steps"), [*itertools.product(CASES, STEPS), *itertools.product(STAGE, STEPS[1:])])
def test_trajectories(case: str, steps: int):
    """After every step, for a velocity that bends with latent and timestep."""
    table, levels, make = (CASES | STAGE)[case]
    sigmas = levels(steps, 3.0)
    solver, scheduler = table(sigmas), make()
    scheduler.set_timesteps(steps)
    scheduler.sigmas, scheduler.timesteps = torch.tensor(sigmas), torch.tensor(solver.timesteps)
    scheduler.set_begin_index(0)
    mixing = np.random.default_rng(0).standard_normal((4, 4)).astype(np.float32) / 2
    noise = np.random.default_rng(1).standard_normal((2, 4, 3, 2, 2)).astype(np.float32)

    def velocity(x, t):
        return jnp.einsum("ij,bj...->bi...", mixing, jnp.tanh(x)) + jnp.cos(t / 300).reshape(-1, 1, 1, 1, 1) * x

    step = jax.jit(lambda at: take_step(velocity, at, solver))
    found = itertools.accumulate(range(steps), lambda at, _: step(at), initial=begin(noise))
    next(found)
    expected = torch.tensor(noise)
    for t, at in zip(scheduler.timesteps, found, strict=True):
        v = torch.einsum("ij,bj...->bi...", torch.tensor(mixing), torch.tanh(expected)) + torch.cos(t / 300) * expected
        expected = scheduler.step(v, t, expected).prev_sample
        assert np.abs(np.asarray(at.latent) - expected.numpy()).max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("tokens", [256, 4096, 10368])
def test_stage_levels(tokens: int):
    """Dynamic shift and terminal level as STAGE's release configures its scheduler."""
    scheduler = schedulers.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.5, max_shift=0.9, shift_terminal=0.02, max_image_seq_len=8192
    )
    shift = dynamic_shift(tokens)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20), mu=np.log(shift))
    np.testing.assert_allclose(stage_sigmas(20, shift), scheduler.sigmas, atol=1e-6)
    np.testing.assert_allclose(euler(stage_sigmas(20, shift)).timesteps, scheduler.timesteps, atol=1e-3)
