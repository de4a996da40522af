"""Flow matching: the path, its velocity, the error and the noise levels."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.sampling.denoise import denoise
from stage_jax.sampling.euler import euler
from stage_jax.sampling.schedule import TIMESTEPS, euler_sigmas, sample_sigma, shift_sigma


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
def test_the_sampler_undoes_what_training_asks_for(drawn):
    """Euler with the learned field of a single example, (x - data) / sigma = noise - data, ends in the data; with the
    sign turned it does not."""
    data, noise = drawn

    def exact(x, timestep):
        return (x - data) / (timestep / TIMESTEPS)[:, None, None]

    solver = euler(euler_sigmas(20, 2.5))
    np.testing.assert_allclose(exact(noise, jnp.full(4, TIMESTEPS)), velocity_target(data, noise), atol=1e-6)
    np.testing.assert_allclose(denoise(exact, noise, solver), data, atol=1e-4)
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


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_levels_are_stratified(shift: float):
    """One level in each of `batch` equal parts, in random order, under the sampler's shift."""
    batch = 8
    first, second = (np.asarray(sample_sigma(jax.random.key(k), batch, shift)) for k in (0, 1))
    edges = np.asarray(shift_sigma(np.linspace(0, 1, batch + 1), shift))
    assert (np.histogram(first, edges)[0] == 1).all()
    assert (np.sort(first) != np.sort(second)).all() and (np.argsort(first) != np.argsort(second)).any()
    assert (first == np.asarray(sample_sigma(jax.random.key(0), batch, shift))).all()
