"""`stage bench wan`: the DiT here against diffusers' in torch, same weights, same input, same processors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from stage_jax.bench.against_diffusers import Arrays, Bench, Report, against_diffusers
from stage_jax.evaluation.goldens import draw, largest_difference, relative_error
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.weights.config_types import as_tuples
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import to_torch

FORWARD, TRAINING = "forward", "forward + backward"

# The sizes at which other implementations were measured: 20,430,784 parameters, 2,048 tokens.
CONFIG = DiTConfig(dim=384, ffn_dim=1536, heads=6, layers=8, text_dim=384, text_len=64, scan_layers=False)
LATENT = (1, 16, 8, 32, 32)


def bench_wan(
    *,
    rounds: int,
    threads: int | None,
    config: DiTConfig = CONFIG,
    latent: tuple[int, ...] = LATENT,
    progress: Report | None = None,
) -> Bench:
    """Times both, and compares the output and the gradients of all parameters. InputError as `against_diffusers`."""

    def task(folder: Path) -> dict[str, Any]:
        write_task(folder, config, latent)
        return {"latent": latent, "config": dataclasses.asdict(config)}

    return against_diffusers("wan", task, (FORWARD, TRAINING), compare, rounds=rounds, threads=threads, progress=progress)


def compare(ours: Arrays, peer: Arrays) -> dict[str, float]:
    """How far the output and the gradients are apart."""
    names = [name for name in peer if name != "output"]
    floor = 1e-3 * max(float(np.abs(peer[name]).max()) for name in names)  # of a gradient that is all but zero
    return {
        "output": relative_error(ours["output"], peer["output"]),
        "gradients": max(
            largest_difference(ours[name], peer[name]) / max(float(np.abs(peer[name]).max()), floor) for name in names
        ),
    }


def write_task(folder: Path, config: DiTConfig, latent: tuple[int, ...], seed: int = 0) -> None:
    """What both contenders read: sizes, weights in diffusers' names, inputs."""
    abstract = flat_params(nnx.eval_shape(lambda: DiT(dataclasses.replace(config, scan_layers=False), nnx.Rngs(0))))
    params = {name: draw(name, tuple(leaf.shape), seed) for name, leaf in abstract.items()}
    save_file(to_torch(params, DIT_TABLE, naming="diffusers"), folder / "weights.safetensors")
    rng = np.random.default_rng(seed)
    inputs = {
        "latent": rng.standard_normal(latent, dtype=np.float32),
        "caption": rng.standard_normal((latent[0], config.text_len, config.text_dim), dtype=np.float32),
        "timestep": np.full(latent[0], 500.0, np.float32),
    }
    save_file(inputs, folder / "inputs.safetensors")
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config)))


def read_config(folder: Path) -> DiTConfig:
    """The sizes that `write_task` left in a folder."""
    return DiTConfig(**{name: as_tuples(value) for name, value in json.loads((folder / "config.json").read_text()).items()})
