"""Noise levels: sigma falls from 1 (noise) to 0 (data); the model hears it as a timestep in [0, 1000].

A schedule for S steps is S + 1 levels, made on the host in float64; the last one is 0. How far its levels lean towards noise
is said by a shift: a factor, static or found from the number of tokens.
"""

from __future__ import annotations

from math import exp

import numpy as np
from jaxtyping import Array, Float

TIMESTEPS = 1000.0
# Wan's UniPC starts just below noise, at a float32; as float64 it decides some of the truncated timesteps.
UNIPC_START = float(np.float32(0.999))
STAGE_TERMINAL = 0.02


def shift_sigma(sigma: Float[Array | np.ndarray, "*n"], shift: float) -> Float[Array | np.ndarray, "*n"]:
    """Static shift towards noise: shift * s / (1 + (shift - 1) * s)."""
    return shift * sigma / (1 + (shift - 1) * sigma)


def dynamic_shift(
    tokens: int,
    *,
    base_image_seq_len: int = 256,
    max_image_seq_len: int = 8192,
    base_shift: float = 0.5,
    max_shift: float = 0.9,
) -> float:
    """The shift for a sequence of this many tokens: exp(mu), mu on the straight line through (base_image_seq_len, base_shift)
    and (max_image_seq_len, max_shift), beyond its ends too. Names and defaults are those of STAGE's release."""
    slope = (max_shift - base_shift) / (max_image_seq_len - base_image_seq_len)
    return exp(base_shift + slope * (tokens - base_image_seq_len))


def stretch_to_terminal(sigmas: Float[np.ndarray, " n"], terminal: float) -> Float[np.ndarray, " n"]:
    """Levels whose distances from 1 are scaled so that the last is `terminal`. ValueError if that one is 1."""
    if sigmas[-1] == 1:
        raise ValueError(f"levels: the last one of {len(sigmas)} is 1 and cannot be stretched to {terminal}")
    return 1 - (1 - sigmas) * (1 - terminal) / (1 - sigmas[-1])


def euler_sigmas(steps: int, shift: float) -> Float[np.ndarray, " {steps}+1"]:
    """From 1 to 0, evenly spaced before the shift. Wan's DPM++ takes the same levels."""
    return shift_sigma(np.linspace(1.0, 0.0, steps + 1), shift)


def unipc_sigmas(steps: int, shift: float) -> Float[np.ndarray, " {steps}+1"]:
    """Wan's levels for UniPC: from 0.999 before the shift, so that the first one has a finite log ratio to the data."""
    return shift_sigma(np.linspace(UNIPC_START, 0.0, steps + 1), shift)


def stage_sigmas(steps: int, shift: float) -> Float[np.ndarray, " {steps}+1"]:
    """STAGE's levels, at least 2 steps: linspace(1, 1/steps, steps), shifted, stretched to end at 0.02, and 0."""
    return np.append(stretch_to_terminal(shift_sigma(np.linspace(1.0, 1.0 / steps, steps), shift), STAGE_TERMINAL), 0.0)
