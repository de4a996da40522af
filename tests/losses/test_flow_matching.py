"""Flow matching: the path, its velocity, the error and the noise levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.sampling.denoise import denoise
from stage_jax.sampling.named import SOLVERS, solver_named
from stage_jax.sampling.schedule import TIMESTEPS


@pytest.fixture(scope="module")
def drawn() -> tuple[jax.Array, jax.Array]:
    return tuple(jax.random.normal(jax.random.key(i), (4, 2, 3)) for i in range(2))


def test_path(drawn):
    data, noise = drawn
    sigma = jnp.array([0.0, 0.25, 0.5, 1.0])
    found = noised(data, noise, sigma)
    np.testing.assert_array_equal(found[0], data[0])
    np.testing.assert_array_equal(found[3], noise[3])
    np.testing.assert_allclose(found[1], 0.75 * data[1] + 0.25 * noise[1], rtol=1e-6)


def test_target_is_the_derivative_of_the_path(drawn):
    data, noise = drawn
    sigma = jnp.array([0.1, 0.4, 0.7, 0.9])
    _, slope = jax.jvp(lambda s: noised(data, noise, s), (sigma,), (jnp.ones(4),))
    np.testing.assert_allclose(slope, velocity_target(data, noise), atol=1e-6)


@pytest.mark.smoke
@pytest.mark.parametrize("name", SOLVERS)
def test_the_sampler_undoes_what_training_asks_for(drawn, name: str):
    """Every solver, with the learned field of a single example, (x - data) / sigma = noise - data, ends in the data; with the
    sign turned it does not. Wan's solvers tell the model whole timesteps, so that sigma is not quite the field's."""
    data, noise = drawn

    def exact(x, timestep):
        return (x - data) / (timestep / TIMESTEPS)[:, None, None]

    solver = solver_named(name, 20, 2.5)
    np.testing.assert_allclose(exact(noise, jnp.full(4, TIMESTEPS)), velocity_target(data, noise), atol=1e-6)
    np.testing.assert_allclose(denoise(exact, noise, solver), data, atol=1e-4 if name == "euler" else 2e-2)
    # Where the levels begin below 1 (UniPC's), noise is taken for what is noised that far.
    straight = noised(data, noise, jnp.full(4, solver.timesteps[0] / TIMESTEPS)) if name == "unipc" else noise
    target = velocity_target(data, noise)
    np.testing.assert_allclose(denoise(lambda x, t: target, straight, solver), data, atol=5e-3 if name == "unipc" else 1e-4)
    assert np.abs(denoise(lambda x, t: -exact(x, t), noise, solver) - data).max() > 1


def test_error_is_one_value_per_example(drawn):
    predicted, target = drawn
    found = velocity_error(predicted, target)
    assert found.shape == (4,)
    np.testing.assert_allclose(found, np.square(np.asarray(predicted - target)).mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(velocity_error(predicted, target, jnp.full((4, 2, 3), 7.0)), found, rtol=1e-5)
    half = jnp.zeros((4, 2, 3)).at[:, 0].set(3.0)
    np.testing.assert_allclose(
        velocity_error(predicted, target, half), velocity_error(predicted[:, 0], target[:, 0]), rtol=1e-5
    )
    assert velocity_error(predicted.astype(jnp.bfloat16), target).dtype == jnp.float32
