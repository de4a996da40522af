"""The project's goldens, and random models to compare ways of running with each other."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TypeVar

import numpy as np
from flax import nnx

from stage_jax.evaluation.goldens import Golden, read_golden
from stage_jax.models.stacking import flat_params, with_params

M = TypeVar("M", bound=nnx.Module)

FOLDER = Path(__file__).parent / "data" / "goldens"
# For tests that spend their time compiling: half the compile time, the same semantics.
QUICK = {"xla_backend_optimization_level": 0}


def load_golden(name: str) -> Golden:
    return read_golden(FOLDER / name)


def drawn(model: M) -> M:
    """An abstract model with random parameters none of which is zero: a start's zeros would hide errors."""
    rng = np.random.default_rng(7)
    params = {}
    for name, leaf in sorted(flat_params(model).items()):
        normal = rng.standard_normal(leaf.shape, dtype=np.float32)
        shrink = 0.1 if name.endswith(("bias", "scale")) else math.prod(leaf.shape[-2:-1]) ** -0.5
        params[name] = np.float32(name.endswith("scale")) + np.float32(shrink) * normal
    return with_params(model, params)
