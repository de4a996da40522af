"""The peer of the VAE's half of `stage bench wan`: python -m stage_jax.bench.vae_torch FOLDER. Needs the extra `torch`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file

from stage_jax.bench.against_diffusers import PEER
from stage_jax.bench.contest import serve
from stage_jax.bench.vae import DECODE, ENCODE
from stage_jax.models.zoo import VAES
from stage_jax.weights.vae_detect import vae_json


def main(folder: Path) -> None:
    config = VAES[(folder / "size").read_text()]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = AutoencoderKLWan.from_config(vae_json(config)).eval()
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    inputs = load_file(folder / "inputs.safetensors")
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latent_mean, config.latent_std))

    def encode() -> torch.Tensor:
        with torch.inference_mode():
            return (model.encode(inputs["video"]).latent_dist.mode() - mean) / std

    def decode() -> torch.Tensor:
        with torch.inference_mode():
            return model.decode(inputs["latents"] * std + mean).sample

    made = {"latents": encode().clone(), "pictures": decode().clone()}
    save_file({name: value.contiguous() for name, value in made.items()}, folder / f"{PEER}.safetensors")
    serve({ENCODE: encode, DECODE: decode})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
