"""`stage bench train`: one training step with AdamW, here and by diffusers' model in torch: same weights, batch, processors."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from stage_jax.bench import wan
from stage_jax.bench.against_diffusers import OURS, PEER, Arrays, Bench, Report, against_diffusers
from stage_jax.models.dit import DiTConfig
from stage_jax.models.zoo import DITS

STEP = "training step"
STEPS = 4  # compared: the losses of the first ones, all but one of them after an update
RATE, DECAY, B2, CLIP = 1e-3, 0.01, 0.999, 1.0  # AdamW's, and the largest norm of a gradient


@dataclasses.dataclass(frozen=True)
class Model:
    """latent: of a batch, with the model's input channels."""

    config: DiTConfig
    latent: tuple[int, int, int, int, int]


MODELS = {
    "tiny": Model(DITS["tiny-flf2v"], (20, 36, 5, 8, 8)),  # as `configs/tiny_filler.py` trains it: 20 clips of 80 tokens
    "8x384": Model(wan.CONFIG, wan.LATENT),
}


def bench_train(name: str, model: Model, *, rounds: int, threads: int | None, progress: Report | None = None) -> Bench:
    """Times both. `setting` says where each one's time goes, as shares of a step. InputError as `against_diffusers`, where the
    losses differ."""
    profiles: dict[str, Any] = {}

    def task(folder: Path) -> dict[str, Any]:
        wan.write_task(folder, model.config, model.latent)
        return {"model": name, "latent": model.latent, "config": dataclasses.asdict(model.config), "profile": profiles}

    def compare(ours: Arrays, peer: Arrays) -> dict[str, float]:
        for who, told in ((OURS, ours), (PEER, peer)):
            profiles[who] = json.loads(bytes(told["profile"]))
        return {f"losses of {name}": float(np.abs(ours["losses"] / peer["losses"] - 1).max())}

    result = against_diffusers("train", task, [STEP], compare, rounds=rounds, threads=threads, progress=progress)
    (timing,) = result.timings
    return dataclasses.replace(result, timings=(dataclasses.replace(timing, work=f"{name}: {STEP}"),))


def as_array(profile: Mapping[str, float]) -> UInt8[np.ndarray, " n"]:
    """A profile (kind of work -> share of a step's time) as a contender leaves it, beside its losses."""
    return np.frombuffer(json.dumps(profile).encode(), np.uint8)
