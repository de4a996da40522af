"""Noise levels and their shifts against numbers by hand."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.sampling.schedule import (
    dynamic_shift,
    euler_sigmas,
    shift_sigma,
    stage_sigmas,
    stretch_to_terminal,
    unipc_sigmas,
)


@pytest.mark.parametrize("shift", [1.0, 2.5, 16.0])
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
    np.testing.assert_allclose(unipc_sigmas(2, 3.0), [2.997 / 2.998, 1.4985 / 1.999, 0], rtol=1e-7)


def test_dynamic_shift_by_hand():
    """Half and nine tenths at the ends of the line; STAGE's pairs of 864x1536 lie beyond it."""
    assert np.log(dynamic_shift(256)) == pytest.approx(0.5) and np.log(dynamic_shift(8192)) == pytest.approx(0.9)
    assert np.log(dynamic_shift(10368)) == pytest.approx(1.01, abs=5e-3)
    assert dynamic_shift(10368) == pytest.approx(2.74, abs=5e-3)
    other = dynamic_shift(2, base_image_seq_len=1, max_image_seq_len=3, base_shift=1.0, max_shift=2.0)
    assert np.log(other) == pytest.approx(1.5)


def test_stretching():
    """Distances from 1 are scaled; the first level stays where it is."""
    np.testing.assert_allclose(stretch_to_terminal(np.array([1.0, 0.75, 0.5]), 0.02), [1, 0.51, 0.02])
    with pytest.raises(ValueError, match=r"the last one of 1 is 1"):
        stretch_to_terminal(np.ones(1), 0.02)


def test_stage_levels_by_hand():
    """linspace(1, 1/2, 2) with shift 3 is 1, 3/4; the last one goes to 0.02, and 0 follows."""
    np.testing.assert_allclose(stage_sigmas(2, 3.0), [1, 0.02, 0])
    sigmas = stage_sigmas(20, 2.2)
    assert len(sigmas) == 21 and sigmas[0] == 1 and (np.diff(sigmas) < 0).all()
    np.testing.assert_allclose(sigmas[-2:], [0.02, 0], atol=1e-12)  # before them, at index 10, what was 1/2
    before = 2.2 * 0.5 / (1 + 1.2 * 0.5)
    last = 2.2 * 0.05 / (1 + 1.2 * 0.05)
    np.testing.assert_allclose(sigmas[10], 1 - (1 - before) * 0.98 / (1 - last))
