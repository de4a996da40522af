"""Our contender of the VAE's half of `stage bench wan`: python -m stage_jax.bench.vae_jax FOLDER."""

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
from stage_jax.bench.vae import DECODE, ENCODE
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.vae import VAE
from stage_jax.models.zoo import VAES
from stage_jax.weights.table import from_torch
from stage_jax.weights.vae_table import vae_table


def main(folder: Path) -> None:
    config = VAES[(folder / "size").read_text()]
    abstract = nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))
    state = load_file(folder / "weights.safetensors")
    params = jax.tree.map(jnp.asarray, from_torch(state, vae_table(config), flat_params(abstract), naming="diffusers"))
    inputs = load_file(folder / "inputs.safetensors")
    video, latents = jnp.asarray(np.moveaxis(inputs["video"], 1, -1)), jnp.asarray(inputs["latents"])
    encode = jax.jit(lambda params, video: with_params(abstract, params).encode(video))
    decode = jax.jit(lambda params, latents: with_params(abstract, params).decode(latents))
    pictures = np.moveaxis(np.asarray(decode(params, latents)), -1, 1)
    save_file({"latents": np.asarray(encode(params, video)), "pictures": pictures.copy()}, folder / f"{OURS}.safetensors")
    serve({
        ENCODE: lambda: jax.block_until_ready(encode(params, video)),
        DECODE: lambda: jax.block_until_ready(decode(params, latents)),
    })  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
