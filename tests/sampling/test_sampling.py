"""Schedule, solver and guidance on fields whose answer is known."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.sampling.euler import euler
from stage_jax.sampling.guidance import guided
from stage_jax.sampling.schedule import euler_sigmas, shift_sigma


@pytest.mark.parametrize("shift", [1.0, 2.5, 16.0])
@pytest.mark.smoke
def test_levels(shift: float):
    """From 1 down to 0, `steps` + 1 of them; a shift moves them towards noise and keeps the ends."""
    sigmas = euler_sigmas(20, shift)
    assert sigmas.shape == (21,) and sigmas.dtype == np.float64
    assert sigmas[0] == 1 and sigmas[-1] == 0 and (np.diff(sigmas) < 0).all()
    even = np.linspace(1, 0, 21)
    np.testing.assert_allclose(sigmas, even if shift == 1 else shift / (shift + 1 / np.maximum(even, 1e-300) - 1), atol=1e-12)
    np.testing.assert_allclose(shift_sigma(jnp.asarray(even), shift), sigmas, atol=1e-6)


def test_shift_by_hand():
    np.testing.assert_allclose(euler_sigmas(2, 3.0), [1, 0.75, 0])


def test_euler_takes_the_steps_by_hand():
    """x' = x + (s1 - s0) v(x, 1000 s0), with a field that depends on both."""
    sigmas = np.array([1.0, 0.6, 0.1, 0.0])
    x = expected = np.array([[1.0, -2.0], [0.5, 3.0]])
    for now, then in itertools.pairwise(sigmas):
        expected = expected + (then - now) * (0.3 * expected + 1000 * now)
    found = jax.jit(lambda x: euler(lambda x, t: 0.3 * x + t[:, None], x, sigmas))(jnp.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_euler_converges_to_the_solution():
    """dx/ds = a x from s = 1 to 0: x(0) = x(1) exp(-a); first order, so half the step is half the error."""
    start, errors = jnp.ones((1, 1)), []
    for steps in (20, 40):
        found = euler(lambda x, _: 0.7 * x, start, euler_sigmas(steps, 1.0))
        errors.append(abs(float(found[0, 0]) - np.exp(-0.7)))
    assert errors[0] < 0.01 and 1.8 < errors[0] / errors[1] < 2.2


def test_straight_paths_need_one_step():
    data, noise = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    for steps, shift in ((1, 1.0), (7, 2.5)):
        found = euler(lambda x, t: jnp.asarray(noise - data), jnp.asarray(noise), euler_sigmas(steps, shift))
        np.testing.assert_allclose(found, data, atol=1e-5)


def test_guidance():
    with_caption, without = jnp.array([3.0, 1.0]), jnp.array([1.0, 1.0])
    np.testing.assert_array_equal(guided(with_caption, without, 1.0), with_caption)
    np.testing.assert_array_equal(guided(with_caption, without, 0.0), without)
    np.testing.assert_array_equal(guided(with_caption, without, jnp.float32(2.5)), [6.0, 1.0])
