"""Solvers by the names that users write (Wan's, and Euler's)."""

from __future__ import annotations

from stage_jax.errors import InputError
from stage_jax.sampling.dpm import dpm_plus_plus
from stage_jax.sampling.euler import euler
from stage_jax.sampling.schedule import euler_sigmas, stage_sigmas, unipc_sigmas
from stage_jax.sampling.solver import Solver
from stage_jax.sampling.unipc import unipc

SOLVERS = {
    "euler": (euler_sigmas, euler),
    "unipc": (unipc_sigmas, unipc),
    "dpm++": (euler_sigmas, dpm_plus_plus),
    "stage": (stage_sigmas, euler),  # Euler on the levels of STAGE's release, which end at 0.02 before 0
}


def solver_named(name: str, steps: int, shift: float) -> Solver:
    """A solver on its own levels. InputError names those that exist, and a shift that leaves no levels between 1 and 0."""
    if name not in SOLVERS:
        raise InputError(f"solver: found {name!r}, expected one of {', '.join(SOLVERS)}")
    levels, table = SOLVERS[name]
    try:
        return table(levels(steps, shift))
    except ValueError:
        what = f"found {shift:g}, with which {steps} noise levels do not fall"
        raise InputError(f"shift: {what}; expected one nearer to 1") from None
