"""The tiny training of `stage bench data`: python -m stage_jax.bench.data_training FOLDER. Prints a line of JSON.

STEP2 of the shipped size on the benchmark's records, under a VAE of random weights: the time does not hang on the weights.
Waiting is all the time that the loop stands in `next`; the device may be at work meanwhile, so that this is an upper bound.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import jax
from flax import nnx
from ml_collections import ConfigDict

from stage_jax.bench.data import Task
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.models.zoo import VAES, named
from stage_jax.parallel.compiler import training_options
from stage_jax.training.optimizer import make_optimizer
from stage_jax.training.state import init_state, make_train_step
from stage_jax.training.tasks import make_task
from stage_jax.weights.folder import write_part

WARM = 3  # steps that do not count
OPTIMIZER = {
    "name": "adamw", "lr": 1e-3, "warmup": 1, "flat": 0.5, "final": 0.1, "weight_decay": 0.0, "clip": 1.0, "b2": 0.98,
}  # fmt: skip


def main(folder: Path) -> None:
    task = Task(**json.loads((folder / "task.json").read_text()))
    sizes = named(VAES, "tiny")
    write_part(folder / "model", "vae", sizes, jax.jit(lambda: flat_params(VAE(sizes, nnx.Rngs(0))))())
    config = ConfigDict(
        {
            "name": "bench", "task": "step2", "model": "tiny-step2", "text_encoder": "tiny", "vae": str(folder / "model"),
            "seed": 0, "steps": task.steps, "ema": 0.99, "shift": 2.5, "copies": 1,
            "dropout": {"caption": 0.1, "history": 0.1, "pair": 0.1},
            "data": {"dir": str(folder / "few"), "batch": task.batch, "workers": task.workers},
            "optimizer": OPTIMIZER, "export_dtype": "float32", "sampling": {"size": (task.size, task.size)},
        }
    )  # fmt: skip
    learning = make_task(config)
    params = learning.init(jax.random.key(0))
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    state = init_state(params, optimizer)
    train_step = make_train_step(learning, optimizer, seed=0, ema=config.ema)
    step = jax.jit(train_step, donate_argnums=0, compiler_options=training_options())
    batches = learning.batches()
    for _ in range(WARM):
        state, _ = step(state, {}, next(batches))
    jax.block_until_ready(state)
    waiting, began = 0.0, time.perf_counter()
    for _ in range(task.steps):
        asked = time.perf_counter()
        batch = next(batches)
        waiting += time.perf_counter() - asked
        state, _ = step(state, {}, batch)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - began
    batches.close()
    print(json.dumps({"waiting": waiting / seconds, "step_seconds": seconds / task.steps}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
