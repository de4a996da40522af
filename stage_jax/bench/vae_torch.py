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


def main(folder: Path) -> None:
    config = VAES[(folder / "size").read_text()]
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    colours, side = 3 * config.patch**2, config.spatial_stride
    model = AutoencoderKLWan(
        base_dim=config.base,
        decoder_base_dim=config.decoder_base,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.res_blocks,
        temperal_downsample=list(config.temporal_down),
        latents_mean=list(config.latent_mean),
        latents_std=list(config.latent_std),
        is_residual=config.residual,
        in_channels=colours,
        out_channels=colours,
        patch_size=config.patch if config.patch > 1 else None,
        scale_factor_spatial=side,
    ).eval()
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
