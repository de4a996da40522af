"""Goldens: inputs and outputs of the reference implementation at tiny sizes, with weights that a fixed recipe draws."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from flax import nnx

from stage_jax.models.stacking import flat_params, with_params

M = TypeVar("M", bound=nnx.Module)

FOLDER = Path(__file__).parent / "data" / "goldens"
TOLERANCE = 1e-5
# For tests that spend their time compiling: half the compile time, the same semantics.
QUICK = {"xla_backend_optimization_level": 0}


@dataclass(frozen=True)
class Golden:
    """model: the reference constructor's arguments. weights: the state dict, torch names. io: the arrays."""

    model: dict
    weights: dict[str, np.ndarray]
    io: dict[str, np.ndarray]


def load_golden(name: str) -> Golden:
    config = json.loads((FOLDER / name / "config.json").read_text())
    weights = {key: draw(key, tuple(shape), config["weight_seed"]) for key, shape in config["weights"].items()}
    with np.load(FOLDER / name / "io.npz") as io:
        return Golden(config["model"], weights, dict(io))


def draw(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    """One entry of a state dict, float32; its name decides how its standard-normal numbers are scaled and shifted."""
    generator = np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}:{key}".encode())))
    normal = generator.standard_normal(shape, dtype=np.float32)
    is_scale = key.endswith("gamma") or (len(shape) == 1 and key.endswith("weight"))
    if is_scale:
        drawn = 1.0 + 0.1 * normal
    elif len(shape) <= 1:
        drawn = 0.1 * normal
    elif len(shape) == 2 and key.endswith("embedding.weight"):
        drawn = normal
    elif key.endswith(("emb_pos", "cls_embedding", "pos_embedding")):
        drawn = 0.5 * normal
    else:
        drawn = normal / math.sqrt(math.prod(shape[1:]))
    return drawn.astype(np.float32)


def relative_error(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference over the largest expected value."""
    return float(np.abs(np.asarray(found, np.float64) - expected).max() / np.abs(expected).max())


def drawn(model: M) -> M:
    """An abstract model with random parameters none of which is zero: a start's zeros would hide errors."""
    rng = np.random.default_rng(7)
    params = {}
    for name, leaf in sorted(flat_params(model).items()):
        normal = rng.standard_normal(leaf.shape, dtype=np.float32)
        shrink = 0.1 if name.endswith(("bias", "scale")) else math.prod(leaf.shape[-2:-1]) ** -0.5
        params[name] = np.float32(name.endswith("scale")) + np.float32(shrink) * normal
    return with_params(model, params)
