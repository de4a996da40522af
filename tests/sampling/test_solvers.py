"""The solvers' tables: Wan's trajectories, equations solved by hand, orders of convergence."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.evaluation.goldens import TOLERANCE, relative_error
from stage_jax.sampling.denoise import begin, denoise, take_step
from stage_jax.sampling.dpm import dpm_plus_plus
from stage_jax.sampling.euler import euler
from stage_jax.sampling.named import SOLVERS, solver_named
from stage_jax.sampling.schedule import TIMESTEPS, euler_sigmas, stage_sigmas, unipc_sigmas
from stage_jax.sampling.solver import Solver, Velocity
from stage_jax.sampling.unipc import unipc
from tests.goldens import FOLDER

GOLDEN = FOLDER / "samplers"
CASES = json.loads((GOLDEN / "config.json").read_text())["cases"]
TABLES = {"euler": euler, "unipc": unipc, "dpm++": dpm_plus_plus}
LEVELS = {"unipc": unipc_sigmas, "dpmpp": euler_sigmas}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "io.npz") as io:
        return dict(io)


def states(velocity: Velocity, noise: np.ndarray, solver: Solver) -> np.ndarray:
    """The latent after every step."""
    step = jax.jit(lambda at: take_step(velocity, at, solver))
    passed = itertools.accumulate(range(solver.steps), lambda at, _: step(at), initial=begin(noise))
    return np.stack([at.latent for at in passed][1:])


@pytest.mark.parametrize("case", CASES)
def test_wans_trajectories(golden: dict[str, np.ndarray], case: str):
    """Levels, timesteps and the latent after every step."""
    name, steps, shift = case.split("_")
    solver = solver_named(name.replace("pp", "++"), int(steps), float(shift))
    np.testing.assert_allclose(LEVELS[name](int(steps), float(shift)), golden[f"{case}_sigmas"], atol=1e-7)
    np.testing.assert_array_equal(solver.timesteps, golden[f"{case}_timesteps"])

    def velocity(x, t):
        return jnp.einsum("ij,bjfhw->bifhw", golden["A"], jnp.tanh(x)) + 0.5 * jnp.cos(3 * t / 1000).reshape(-1, 1, 1, 1, 1) * x

    for found, expected in zip(states(velocity, golden["x_init"], solver), golden[f"{case}_traj"], strict=True):
        assert relative_error(found, expected) < TOLERANCE


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 50, 1000])
@pytest.mark.parametrize("table", TABLES.values())
def test_every_table_is_finite(table: Callable[..., Solver], steps: int):
    """Also where the first level is 1 and the last 0, whose logarithms are not. The weights of every row sum to 1: where all
    terms are the same, nothing moves."""
    for levels in (euler_sigmas, unipc_sigmas, *([stage_sigmas] if steps > 1 else [])):
        check_table(table(levels(steps, 5.0)), steps)


def check_table(solver: Solver, steps: int) -> None:
    assert all(np.isfinite(column).all() and column.dtype == np.float32 for column in jax.tree.leaves(solver))
    assert solver.steps == steps
    np.testing.assert_allclose(solver.predictor.sum(1), 1, atol=2e-5)
    np.testing.assert_allclose(solver.corrector.sum(1), 1, atol=2e-5)
    np.testing.assert_allclose(solver.predictor[-1], [0, 1, 0], atol=1e-7)  # it ends in the data that it predicts last


def test_timesteps_are_whole_or_exact():
    sigmas = np.array([1.0, 0.5789, 0.0])
    np.testing.assert_array_equal(unipc(sigmas).timesteps, [1000, 578])
    np.testing.assert_array_equal(dpm_plus_plus(sigmas).timesteps, [1000, 578])
    np.testing.assert_array_equal(euler(sigmas).timesteps, np.float32([1000, 578.9]))
    np.testing.assert_array_equal(euler(sigmas, truncate=True).timesteps, [1000, 578])
    np.testing.assert_array_equal(unipc(sigmas, truncate=False).timesteps, np.float32([1000, 578.9]))


@pytest.mark.parametrize("levels", [[1.0], [1.0, 0.5, 0.5, 0.0], [0.0, 1.0], [1.2, 0.0], [1.0, -0.1]])
def test_levels_that_do_not_fall_are_refused(levels: list[float]):
    for table in TABLES.values():
        with pytest.raises(ValueError, match="expected at least two that fall"):
            table(np.array(levels))


def test_names():
    assert set(SOLVERS) == {"euler", "unipc", "dpm++", "stage"}
    for name, table in TABLES.items():
        np.testing.assert_array_equal(solver_named(name, 7, 3.0).predictor, table(SOLVERS[name][0](7, 3.0)).predictor)
    with pytest.raises(InputError, match=r"solver: found 'heun', expected one of euler, unipc, dpm\+\+, stage"):
        solver_named("heun", 7, 3.0)


def test_euler_takes_the_steps_by_hand():
    """x' = x + (s1 - s0) v(x, 1000 s0), with a field that depends on both."""
    sigmas = np.array([1.0, 0.6, 0.1, 0.0])
    x = expected = np.array([[1.0, -2.0], [0.5, 3.0]])
    for now, then in itertools.pairwise(sigmas):
        expected = expected + (then - now) * (0.3 * expected + 1000 * now)
    found = jax.jit(lambda x: denoise(lambda x, t: 0.3 * x + t[:, None], x, euler(sigmas)))(jnp.float32(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_eulers_table_is_x_plus_a_step_along_the_velocity():
    """To rounding, over 50 steps of a velocity that has nothing to do with the latent."""
    sigmas, x = euler_sigmas(50, 5.0), np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    along = np.random.default_rng(1).standard_normal((50, 2, 3)).astype(np.float32)
    step = jax.jit(lambda at, v: take_step(lambda x, t: v, at, euler(sigmas)))
    at, expected = begin(x), x.astype(np.float64)
    for i in range(50):
        at = step(at, along[i])
        expected = expected + (sigmas[i + 1] - sigmas[i]) * along[i]
        np.testing.assert_allclose(at.latent, expected, atol=3e-6)


def test_straight_paths_need_one_step():
    data, noise = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    for name, steps, shift in itertools.product(("euler", "dpm++"), (1, 7), (1.0, 2.5)):
        found = denoise(lambda x, t: jnp.asarray(noise - data), jnp.asarray(noise), solver_named(name, steps, shift))
        np.testing.assert_allclose(found, data, atol=1e-5)


def test_higher_orders_converge_faster():
    """Data from N(2, 0.5^2): the path of a point of noise and its velocity are known. Half the step is half the error for
    Euler and a quarter of it for the others, which are better from the start."""
    mean, deviation = 2.0, 0.5

    def path(z, s):
        return (1 - s) * mean + ((1 - s) ** 2 * deviation**2 + s**2) ** 0.5 * z

    def velocity(x, t):
        s = (t / TIMESTEPS)[:, None]
        return -mean + (s - (1 - s) * deviation**2) / ((1 - s) ** 2 * deviation**2 + s**2) * (x - (1 - s) * mean)

    def error(table: Callable[..., Solver], steps: int) -> float:
        z, solver = jnp.array([[-1.3, 0.4, 1.1]]), table(np.linspace(0.9, 0.2, steps + 1), truncate=False)
        found = jax.jit(lambda x: denoise(velocity, x, solver))(path(z, 0.9))
        return float(jnp.abs(found - path(z, 0.2)).max())

    errors = {name: (error(table, 16), error(table, 32)) for name, table in TABLES.items()}
    ratio = {name: first / second for name, (first, second) in errors.items()}
    assert 1.8 < ratio["euler"] < 2.2 and 3.5 < ratio["dpm++"] < 5 and 3.5 < ratio["unipc"] < 5, errors
    assert errors["dpm++"][0] < errors["euler"][0] / 4 and errors["unipc"][0] < errors["dpm++"][0], errors
