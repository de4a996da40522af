"""`stage bench wan`: the DiT here against diffusers' in torch, same weights, same input, same processors."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

from stage_jax.bench.contest import Contender, Timing, compete
from stage_jax.errors import InputError
from stage_jax.evaluation.goldens import draw, largest_difference, relative_error
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import to_torch

OURS, PEER = "stage_jax", "diffusers"
FORWARD, TRAINING = "forward", "forward + backward"
AGREE = 1e-4  # both compute in float32, with sums in another order

# The sizes at which other implementations were measured: 20,430,784 parameters, 2,048 tokens.
CONFIG = DiTConfig(dim=384, ffn_dim=1536, heads=6, layers=8, text_dim=384, text_len=64, scan_layers=False)
LATENT = (1, 16, 8, 32, 32)


@dataclasses.dataclass(frozen=True)
class WanBench:
    """differences: of the output and of the gradients of all parameters, relative to the peer's largest value. setting: what
    was timed, where, with which versions."""

    timings: tuple[Timing, ...]
    differences: dict[str, float]
    setting: dict[str, Any]


def bench_wan(
    *,
    rounds: int,
    threads: int | None,
    config: DiTConfig = CONFIG,
    latent: tuple[int, ...] = LATENT,
    progress: Callable[[str, int, int], None] | None = None,
) -> WanBench:
    """Times both, and compares what they compute: a ratio counts only between programs that do the same. InputError if they
    do not, or if diffusers is not installed."""
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("diffusers")):
        raise InputError("bench wan: diffusers is not installed, expected the extra `torch` (pip install 'stage_jax[torch]')")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        write_task(place, config, latent)
        contenders = [
            Contender(OURS, "stage_jax.bench.wan_jax", (folder,)),
            Contender(PEER, "stage_jax.bench.wan_torch", (folder,)),
        ]
        differences: dict[str, float] = {}

        def check() -> None:
            ours, peer = (load_file(place / f"{name}.safetensors") for name in (OURS, PEER))
            differences.update(compare(ours, peer))

        timings = compete(contenders, (FORWARD, TRAINING), rounds=rounds, cpus=threads, ready=check, progress=progress)
    versions = {name: importlib.metadata.version(name) for name in ("jax", "torch", "diffusers")}
    setting = {"threads": threads or len(os.sched_getaffinity(0)), "latent": latent, "versions": versions}
    return WanBench(tuple(timings), differences, setting | {"config": dataclasses.asdict(config)})


def compare(ours: Mapping[str, np.ndarray], peer: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How far the output and the gradients are apart. InputError if that is too far, or not a number."""
    names = [name for name in peer if name != "output"]
    floor = 1e-3 * max(float(np.abs(peer[name]).max()) for name in names)  # of a gradient that is all but zero
    differences = {
        "output": relative_error(ours["output"], peer["output"]),
        "gradients": max(
            largest_difference(ours[name], peer[name]) / max(float(np.abs(peer[name]).max()), floor) for name in names
        ),
    }
    if wrong := [name for name, value in differences.items() if not value <= AGREE]:
        raise InputError(f"bench wan: {wrong[0]} differ by {differences[wrong[0]]:.1e}, expected at most {AGREE:.0e}")
    return differences


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
