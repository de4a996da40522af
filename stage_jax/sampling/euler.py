"""Euler's method along the velocity field: the solver of STAGE's release (20 steps)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from stage_jax.sampling.solver import Solver, as_levels, tabulate


def euler(sigmas: Float[np.ndarray, " n"], *, truncate: bool = False) -> Solver:
    """x' = x + (s1 - s0) * velocity, written with m: s1/s0 * x + (1 - s1/s0) * m."""
    levels = as_levels(sigmas)
    kept = levels[1:] / levels[:-1]
    return tabulate(levels, np.stack([kept, 1 - kept, np.zeros_like(kept)], axis=1), truncate=truncate)
