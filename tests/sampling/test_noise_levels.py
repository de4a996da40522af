"""The noise levels of training: their density, their shift, and the ranges of Wan2.2's experts."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from stage_jax.sampling.defaults import DEFAULTS
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.sampling.schedule import shift_sigma


@pytest.mark.parametrize("shift", [1.0, 2.5])
def test_levels_are_stratified(shift: float):
    """One level in each of `batch` equal parts, in random order, under the sampler's shift."""
    batch, levels = 8, NoiseLevels(shift)
    first, second = (np.asarray(levels.sample(jax.random.key(k), batch)) for k in (0, 1))
    edges = np.asarray(shift_sigma(np.linspace(0, 1, batch + 1), shift))
    assert (np.histogram(first, edges)[0] == 1).all()
    assert (np.sort(first) != np.sort(second)).all() and (np.argsort(first) != np.argsort(second)).any()
    assert (first == np.asarray(levels.sample(jax.random.key(0), batch))).all()


def test_the_logit_of_logit_normal_levels_is_normal():
    sigma = np.asarray(NoiseLevels(density="logit_normal", mean=-0.5, std=1.3).sample(jax.random.key(0), 2000), np.float64)
    assert stats.kstest(np.log(sigma / (1 - sigma)), stats.norm(-0.5, 1.3).cdf).statistic < 1e-3  # stratified
    shifted = np.asarray(NoiseLevels(3.0, "logit_normal", -0.5, 1.3).sample(jax.random.key(0), 2000), np.float64)
    np.testing.assert_allclose(shifted, shift_sigma(sigma, 3.0), rtol=1e-5)


@pytest.mark.parametrize("density", ["uniform", "logit_normal"])
@pytest.mark.parametrize("model", ["wan2.2-t2v-a14b", "wan2.2-i2v-a14b"])
def test_the_ranges_of_two_experts_are_parts_of_one_density(density: str, model: str):
    """Each keeps to its side of the boundary and has there the shape of the whole."""
    defaults = DEFAULTS[model]
    whole = np.asarray(NoiseLevels(defaults.shift, density).sample(jax.random.key(0), 4000))
    for low, high in ((0.0, defaults.boundary), (defaults.boundary, 1.0)):
        part = np.asarray(NoiseLevels(defaults.shift, density, low=low, high=high).sample(jax.random.key(1), 1000))
        assert part.min() >= low - 1e-6 and part.max() <= high + 1e-6
        assert stats.ks_2samp(part, whole[(whole >= low) & (whole <= high)]).statistic < 5e-3


@pytest.mark.parametrize(
    "values", [{"shift": 0.0}, {"std": -1.0}, {"low": 0.9, "high": 0.9}, {"low": -0.1}, {"high": 1.1}, {"low": float("nan")}]
)
def test_levels_that_cannot_be(values: dict[str, float]):
    with pytest.raises(ValueError, match="expected the first two above 0 and a range in 0 to 1"):
        NoiseLevels(**values)
