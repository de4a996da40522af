"""Our contender of `stage bench wan`: python -m stage_jax.bench.wan_jax FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from safetensors.numpy import load_file, save_file

from stage_jax.bench.against_diffusers import OURS
from stage_jax.bench.contest import serve
from stage_jax.bench.wan import FORWARD, TRAINING, read_config
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.parallel.compiler import training_options
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import from_torch, to_torch


def main(folder: Path) -> None:
    config = read_config(folder)
    abstract = nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))
    state = load_file(folder / "weights.safetensors")
    params = jax.tree.map(jnp.asarray, from_torch(state, DIT_TABLE, flat_params(abstract), naming="diffusers"))
    inputs = {name: jnp.asarray(value) for name, value in load_file(folder / "inputs.safetensors").items()}

    def velocity(params, inputs):
        sequence = t2v_sequence(inputs["latent"], inputs["timestep"], inputs["caption"])
        return with_params(abstract, params)(sequence).outputs[0]

    forward = jax.jit(velocity)
    loss_gradient = jax.grad(lambda params, inputs: jnp.square(velocity(params, inputs)).mean())
    gradient = jax.jit(loss_gradient, compiler_options=training_options())
    output, gradients = forward(params, inputs), gradient(params, inputs)
    named = to_torch({name: np.asarray(value) for name, value in gradients.items()}, DIT_TABLE, naming="diffusers")
    save_file({"output": np.asarray(output)} | named, folder / f"{OURS}.safetensors")
    works = {
        FORWARD: lambda: jax.block_until_ready(forward(params, inputs)),
        TRAINING: lambda: jax.block_until_ready(gradient(params, inputs)),
    }
    serve(works)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
