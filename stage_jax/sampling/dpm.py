"""DPM-Solver++ (Lu et al. 2022), second order, multistep, midpoint, as Wan runs it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from stage_jax.sampling.solver import Solver, as_levels, tabulate


def dpm_plus_plus(sigmas: Float[np.ndarray, " n"], *, truncate: bool = True) -> Solver:
    """One evaluation a step; the step before gives the second order. First and last step are of first order."""
    levels = as_levels(sigmas)
    return tabulate(levels, second_order(levels), truncate=truncate)


def second_order(levels: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n-1 3"]:
    """Predictor rows: s1/s0 * x + (1 - s1/s0) * (m + (m - m_before) * h / (2 * h_before)).

    In terms of h the first weight of m is (1 - s1) * (1 - exp(-h)), which is 1 - s1/s0 at every level. A start at 1 makes
    h_before infinite in the second step, which thereby is of first order too.
    """
    kept, h = levels[1:] / levels[:-1], np.diff(log_ratio(levels))
    slope = np.zeros_like(kept)
    slope[1:-1] = h[1:-1] / h[:-2] / 2
    return np.stack([kept, (1 - kept) * (1 + slope), -(1 - kept) * slope], axis=1)


def log_ratio(levels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """lambda = log((1 - s) / s): of the data's part to the noise's. -inf at 1, inf at 0."""
    with np.errstate(divide="ignore"):
        return np.log1p(-levels) - np.log(levels)
