"""Runs of a tiny DiT through the whole loop, in a process of its own with the devices and the processes that it is given.

    python -m tests.parallel.train_worker RUNS.json

RUNS: a list of {workdir, steps, optimizer, mesh, accumulate, stop}, done one after the other. Beside its workdir each leaves
WORKDIR.npz: parameters and their average at its end, the steps it began and ended at, and how much of a kernel the first
device holds, as "share". stop: the process that sends itself SIGTERM in the third step, or None.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import grain
import jax
import numpy as np
from absl import flags
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.loader import batches
from data_pipeline.stream import Stream
from stage_jax.losses.flow_matching import velocity_error
from stage_jax.models import attention
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.parallel import distributed, rules
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.training import train as loop
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import onto_mesh, own_share
from stage_jax.training.tasks.flow import draw_noise, noised_rows

DIT = DiTConfig(dim=16, ffn_dim=32, heads=2, layers=2, text_dim=8, text_len=2, freq_dim=8)
ROWS = 8
STOP_IN = 3  # step
COMMON = {
    "name": "tiny", "task": "tiny", "model": "tiny", "seed": 0, "log_every": 1, "checkpoint_every": 10, "ema": 0.9,
    "data": {"dir": "none"},
}  # fmt: skip
RATES = {"lr": 0.02, "warmup": 0, "flat": 1.0, "final": 1.0, "weight_decay": 0.01, "clip": 1.0, "b2": 0.98, "momentum": 0.9}


def example(index: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(index % 50)
    latent = 2 + 0.3 * rng.standard_normal((16, 1, 4, 4))
    return {"latent": latent.astype(np.float32), "caption": rng.standard_normal((2, 8)).astype(np.float32)}


class TinyTask:
    needs: ClassVar[dict] = {}
    takes: ClassVar[dict] = {}
    levels = (0.0, 1.0)
    stop: ClassVar[int | None] = None

    def __init__(self, config: ConfigDict):
        self.config, self.begun = config, 0
        self.dit = nnx.eval_shape(lambda: DiT(DIT, nnx.Rngs(0)))

    def init(self, key: PRNGKeyArray) -> Params:
        return flat_params(DiT(DIT, nnx.Rngs(key)))

    def batches(self) -> Stream:
        rows = batches(grain.MapDataset.range(10_000).map(example), ROWS, own_share(self.config))
        return Stream(rows, onto_mesh(self.config))

    def draw(self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> dict[str, Array]:
        return batch | draw_noise(batch["latent"], key, NoiseLevels(1.0), sigma)

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        noisy, sigma, target = noised_rows(examples["latent"], examples)
        sequence = t2v_sequence(noisy, 1000 * sigma, examples["caption"])
        return velocity_error(with_params(self.dit, params)(sequence).outputs[0], target), {}

    def work(self, batch: Any) -> None:
        """Not counted. JAX looks for the signal once a second, so that steps after it must not be over at once."""
        self.begun += 1
        if self.stop is not None and self.begun >= STOP_IN:
            if self.begun == STOP_IN and jax.process_index() == self.stop:
                os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.3)

    def export(self, params: Params, folder: Path) -> None:
        """Slowly, where other processes wait for it."""
        time.sleep(2 * (jax.process_count() - 1))
        np.savez(folder / "params.npz", **params)


def run(told: dict[str, Any]) -> None:
    TinyTask.stop = told["stop"]
    optimizer = RATES | {"name": told["optimizer"]} | ({"lr": 0.003} if told["optimizer"] == "adamw" else {})
    config = COMMON | {"optimizer": optimizer, **{name: told[name] for name in ("steps", "mesh", "accumulate")}}
    said: list[str] = []
    state = loop.train(ConfigDict(config), Path(told["workdir"]), said.append)
    if int(state.step) == told["steps"] and not (Path(told["workdir"]) / "model").exists():
        raise AssertionError("the run is over and its model is not there")
    kernel = state.params["blocks.ffn.up.kernel"]
    share = kernel.addressable_shards[0].data.size / kernel.size
    weights = {"params": distributed.on_host(state.params), "ema": distributed.on_host(state.ema)}
    if distributed.is_first():
        arrays = {f"{kind} {path}": value for kind, params in weights.items() for path, value in params.items()}
        began = int(said[0].split()[-3])  # "..., steps 10 to 20"
        np.savez(f"{told['workdir']}.npz", share=share, began=began, ended=int(state.step), **arrays)


def main(runs: Path) -> None:
    flags.FLAGS.mark_as_parsed()
    rules.SMALL = 0  # so small a model is not spread otherwise
    attention.WHOLE = 8  # scores: its self-attention is to take the kernel, its cross-attention not
    loop.make_task = TinyTask
    jax.config.update("jax_default_matmul_precision", "highest")
    for told in json.loads(runs.read_text()):
        run(told)


if __name__ == "__main__":
    distributed.start()
    main(Path(sys.argv[1]))
