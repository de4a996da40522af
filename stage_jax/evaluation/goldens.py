"""Goldens: inputs and outputs of a reference implementation at tiny sizes, with weights that a fixed recipe draws.

    config.json            kind, model (the reference constructor's arguments), weight_seed, weights (entries and shapes)
    io.npz                 the arrays
    weights.safetensors    optional: the weights, where they are not drawn
"""

from __future__ import annotations

import json
import math
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from stage_jax.errors import InputError
from stage_jax.models.sequence import AnyArray
from stage_jax.weights.checkpoint import open_checkpoint

# The reference computes in float32; what is left is the order of its sums (facts of Wan: 3e-6 is reached).
TOLERANCE = 1e-5
MOST = 10_000_000  # numbers of one weight, our choice: goldens are of tiny models


@dataclass(frozen=True)
class Golden:
    """model: the reference constructor's arguments. weights: the state dict, torch names. io: the arrays. seed: of all that is
    drawn. cases: of the samplers, SOLVER_STEPS_SHIFT."""

    name: str
    kind: str
    model: dict[str, Any]
    weights: dict[str, np.ndarray]
    io: dict[str, np.ndarray]
    seed: int
    cases: tuple[str, ...]


def read_golden(folder: Path) -> Golden:
    """The golden in a folder; InputError if it is none."""
    config = _read_config(folder / "config.json")
    stored, seed = folder / "weights.safetensors", config.get("weight_seed", 0)
    if os.path.lexists(stored):
        checkpoint = open_checkpoint(stored)
        weights = {name: checkpoint.read(name) for name in checkpoint.entries}
    else:
        weights = {name: draw(name, tuple(shape), seed) for name, shape in config.get("weights", {}).items()}
    arrays, cases = _read_arrays(folder / "io.npz"), tuple(config.get("cases", ()))
    return Golden(folder.name, config["kind"], config.get("model", {}), weights, arrays, seed, cases)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected the folder of a golden") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    kinds = {"kind": str, "model": dict, "weights": dict, "weight_seed": int, "cases": list}
    if not isinstance(config, dict) or "kind" not in config:
        raise InputError(f"{path}: expected a golden with its kind")
    if wrong := [name for name, kind in kinds.items() if name in config and not isinstance(config[name], kind)]:
        raise InputError(f"{path}: {wrong[0]}: found {config[wrong[0]]!r}")
    for name, shape in config.get("weights", {}).items():
        if not (isinstance(shape, list) and all(type(side) is int and 0 < side <= MOST for side in shape)):
            raise InputError(f"{path}: weights: {name}: found the shape {shape!r}, expected sides of 1 to {MOST:,}")
        if math.prod(shape) > MOST:
            raise InputError(f"{path}: weights: {name}: {math.prod(shape):,} numbers, a golden has at most {MOST:,}")
    return config


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected the arrays of a golden") from None
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not an .npz file of plain arrays ({error})") from None


def draw(key: str, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "..."]:
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


def draw_input(name: str, shape: tuple[int, ...], seed: int) -> Float[np.ndarray, "..."]:
    """An input that a golden does not store, float32, standard normal."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape, dtype=np.float32)


def largest_difference(found: Shaped[AnyArray, "*n"], expected: Shaped[AnyArray, "*n"]) -> float:
    """Largest absolute difference; inf where the result is not finite. ValueError for arrays of different shapes."""
    if found.shape != expected.shape:
        raise ValueError(f"found the shape {found.shape}, expected {expected.shape}")
    difference = np.abs(np.asarray(found, np.float64) - np.asarray(expected)).max()
    return float(difference) if np.isfinite(difference) else math.inf


def relative_error(found: Shaped[AnyArray, "*n"], expected: Shaped[AnyArray, "*n"]) -> float:
    """Largest difference over the largest expected value."""
    return largest_difference(found, expected) / float(np.abs(np.asarray(expected)).max())
