"""A solver as a table of coefficients.

A step from level s0 to s1 of Euler, DPM++ 2M and UniPC is linear in the latent, the latent that the last step started from and
the last predictions of the data, m = x - s0 * velocity. So a solver is one row of numbers a step, computed on the host in
float64, where the logarithms that are infinite at both ends are dealt with; on the device every solver is the same program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Array, Float

from stage_jax.models.sequence import AnyArray, pytree
from stage_jax.sampling.schedule import TIMESTEPS

# What is solved: dx/dsigma = velocity(x, timestep), one timestep per example.
Velocity = Callable[[Float[Array, "b *rest"], Float[Array, " b"]], Float[Array, "b *rest"]]


@pytree(data=("timesteps", "sigmas", "corrector", "predictor"))
@dataclass(frozen=True)
class Solver:
    """A row per step, float32.

    timesteps: what the model hears, in [0, 1000]. sigmas: the level that a step starts at. corrector: the corrected latent over
    (latent, start of the last step, m of the last step, m of the one before, new m), after the model has been evaluated at the
    latent as it was. predictor: the next latent over (corrected latent, new m, m of the last step).
    """

    timesteps: Float[AnyArray, " steps"]
    sigmas: Float[AnyArray, " steps"]
    corrector: Float[AnyArray, "steps 5"]
    predictor: Float[AnyArray, "steps 3"]

    @property
    def steps(self) -> int:
        return self.timesteps.shape[0]

    def padded(self, rows: int) -> Solver:
        """The same steps, then rows of zeros, which nobody takes, so that tables of different lengths are one shape."""
        columns = (self.timesteps, self.sigmas, self.corrector, self.predictor)
        return Solver(*(np.concatenate([c, np.zeros((rows - self.steps, *c.shape[1:]), np.float32)]) for c in columns))


def tabulate(
    sigmas: Float[np.ndarray, " levels"],
    predictor: Float[np.ndarray, "steps 3"],
    corrector: Float[np.ndarray, "steps 5"] | None = None,
    *,
    truncate: bool,
) -> Solver:
    """The table of these rows. corrector: None leaves the latent as it is. truncate: the model hears whole timesteps."""
    timesteps = TIMESTEPS * sigmas[:-1]
    if corrector is None:
        corrector = np.tile([1.0, 0, 0, 0, 0], (len(timesteps), 1))
    columns = (np.trunc(timesteps) if truncate else timesteps, sigmas[:-1], corrector, predictor)
    return Solver(*(column.astype(np.float32) for column in columns))


def as_levels(sigmas: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """In float64. ValueError unless there are at least two and they fall from at most 1 to at least 0."""
    levels = np.asarray(sigmas, np.float64)
    if len(levels) < 2 or not (np.diff(levels) < 0).all() or levels[0] > 1 or levels[-1] < 0:
        raise ValueError(f"levels: expected at least two that fall, within 1 and 0, found {levels}")
    return levels
