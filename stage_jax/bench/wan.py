"""`stage bench wan`: the DiT here against diffusers' in torch, same weights, same input, same processors."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

from stage_jax.bench.contest import Contender, Timing, compete
from stage_jax.errors import InputError
from stage_jax.evaluation.goldens import draw, relative_error
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
    """differences: of the output and of the gradients of all parameters, relative to the peer's largest value."""

    timings: tuple[Timing, ...]
    differences: dict[str, float]


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
        timings = compete(contenders, (FORWARD, TRAINING), rounds=rounds, cpus=threads, progress=progress)
        ours, peer = (load_file(place / f"{name}.safetensors") for name in (OURS, PEER))
    differences = {
        "output": relative_error(ours["output"], peer["output"]),
        "gradients": max(_difference(ours[name], peer[name], peer) for name in peer if name != "output"),
    }
    if wrong := [name for name, value in differences.items() if value > AGREE]:
        raise InputError(f"bench wan: {wrong[0]} differ by {differences[wrong[0]]:.1e}, expected at most {AGREE:.0e}")
    return WanBench(tuple(timings), differences)


def _difference(ours: np.ndarray, peer: np.ndarray, all_of_peer: dict[str, np.ndarray]) -> float:
    """Of one gradient, over its largest value, or a thousandth of the largest of all where it is all but zero."""
    floor = 1e-3 * max(float(np.abs(value).max()) for name, value in all_of_peer.items() if name != "output")
    return float(np.abs(ours - peer).max()) / max(float(np.abs(peer).max()), floor)


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
