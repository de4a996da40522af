"""UniPC (Zhao et al. 2023) of order 2 with B(h) = exp(-h) - 1 ("bh2") on predictions of the data, as Wan runs it."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from stage_jax.sampling.dpm import log_ratio, second_order
from stage_jax.sampling.solver import Solver, as_levels, tabulate


def unipc(sigmas: Float[np.ndarray, " n"], *, truncate: bool = True) -> Solver:
    """The predictor is that of DPM++ 2M. From the second step on, the new m first corrects the step that led to it."""
    levels = as_levels(sigmas)
    return tabulate(levels, second_order(levels), _corrector(levels), truncate=truncate)


def _corrector(levels: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n-1 5"]:
    """Row i redoes step i - 1 from its start: s1/s0 * start + (1 - s1/s0) * (m + rho1/r * (m_before - m) + rho2 * (m_new - m)).

    Step 0 has no m before it: rho1 = 0, rho2 = 1/2. The others solve rho1 + rho2 = b1, r * rho1 + rho2 = b2; where the level
    before theirs is 1, r is infinite and rho1/r 0. The last step, whose h is infinite, is never redone.
    """
    kept, h = levels[1:-1] / levels[:-2], np.diff(log_ratio(levels))
    past, new = np.zeros_like(kept), np.full_like(kept, 0.5)
    hh, r = -h[1:-1], -h[:-2] / h[1:-1]
    phi1 = np.expm1(hh) / hh - 1
    phi2 = phi1 / hh - 0.5
    b1, b2 = phi1 / np.expm1(hh), 2 * phi2 / np.expm1(hh)
    rho1 = (b1 - b2) / (1 - r)
    past[1:], new[1:] = rho1 / r, b1 - rho1
    redone = np.stack([np.zeros_like(kept), kept, *((1 - kept) * w for w in (1 - past - new, past, new))], axis=1)
    return np.concatenate([[[1.0, 0, 0, 0, 0]], redone])
