"""Our contender of `stage bench train`: python -m stage_jax.bench.train_jax FOLDER."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict
from safetensors.numpy import load_file, save_file

from stage_jax.bench.against_diffusers import OURS
from stage_jax.bench.contest import serve
from stage_jax.bench.profile import profile
from stage_jax.bench.train import B2, CLIP, DECAY, RATE, STEP, STEPS, as_array
from stage_jax.bench.wan import read_config
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.parallel.compiler import training_options
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.training.optimizer import make_optimizer
from stage_jax.training.state import Params, Sums, init_state, make_train_step
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import from_torch

# A rate that does not change over the steps of a benchmark.
OPTIMIZER = {
    "name": "adamw", "lr": RATE, "warmup": 0, "flat": 1.0, "final": 1.0, "weight_decay": DECAY, "clip": CLIP, "b2": B2,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Fixed:
    """Flow matching on one batch whose noise and level are given."""

    model: DiT

    def draw(self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Any = None) -> dict[str, Array]:
        return batch

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        latent = examples["latent"]
        sequence = t2v_sequence(latent, examples["timestep"], examples["caption"])
        velocity = with_params(self.model, params)(sequence).outputs[0]
        error = jnp.square(velocity - latent[:, : velocity.shape[1]])
        return error.reshape(len(latent), -1).mean(axis=1), {}


def main(folder: Path) -> None:
    config = read_config(folder)
    abstract = nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))
    weights = load_file(folder / "weights.safetensors")
    params = jax.tree.map(jnp.asarray, from_torch(weights, DIT_TABLE, flat_params(abstract), naming="diffusers"))
    batch = {name: jnp.asarray(value) for name, value in load_file(folder / "inputs.safetensors").items()}
    optimizer = make_optimizer(ConfigDict(OPTIMIZER), 1000, params)
    state = init_state(params, optimizer, ema=False)
    train_step = jax.jit(
        make_train_step(Fixed(abstract), optimizer, seed=0), donate_argnums=0, compiler_options=training_options()
    )
    compiled = train_step.lower(state, {}, batch).compile()

    def step() -> Array:
        nonlocal state
        state, metrics = compiled(state, {}, batch)
        return jax.block_until_ready(metrics["loss"])

    losses = np.array([step() for _ in range(STEPS)])
    left = {"losses": losses, "profile": as_array(profile(step, compiled))}
    save_file(left, folder / f"{OURS}.safetensors")
    serve({STEP: step})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
