"""The peer of `stage bench wan`, diffusers in torch: python -m stage_jax.bench.wan_torch FOLDER. Needs the extra `torch`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from stage_jax.bench.against_diffusers import PEER
from stage_jax.bench.contest import serve
from stage_jax.bench.wan import FORWARD, TRAINING, read_config
from stage_jax.weights.formats import diffusers_config


def main(folder: Path) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model = WanTransformer3DModel.from_config(diffusers_config(read_config(folder)))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    inputs = load_file(folder / "inputs.safetensors")

    def velocity() -> torch.Tensor:
        return model(inputs["latent"], inputs["timestep"], inputs["caption"], return_dict=False)[0]

    def forward() -> torch.Tensor:
        with torch.inference_mode():
            return velocity()

    def gradient() -> None:
        model.zero_grad(set_to_none=True)
        velocity().square().mean().backward()

    output = forward().clone()
    gradient()
    gradients = {name: parameter.grad.contiguous() for name, parameter in model.named_parameters()}
    save_file({"output": output.contiguous()} | gradients, folder / f"{PEER}.safetensors")
    serve({FORWARD: forward, TRAINING: gradient})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
