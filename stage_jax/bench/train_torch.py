"""The peer of `stage bench train`, diffusers in torch: python -m stage_jax.bench.train_torch FOLDER. Needs extra `torch`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from safetensors.numpy import save_file
from safetensors.torch import load_file
from torch.profiler import ProfilerActivity, profile

from stage_jax.bench.against_diffusers import PEER
from stage_jax.bench.contest import serve
from stage_jax.bench.train import B2, CLIP, DECAY, RATE, STEP, STEPS, as_array
from stage_jax.bench.wan import read_config
from stage_jax.weights.formats import diffusers_config


def main(folder: Path) -> None:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    config = read_config(folder)
    model = WanTransformer3DModel.from_config(diffusers_config(config))
    model.load_state_dict(load_file(folder / "weights.safetensors"))
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, (0.9, B2), weight_decay=DECAY)
    inputs = load_file(folder / "inputs.safetensors")
    target = inputs["latent"][:, : config.out_channels]

    def step() -> torch.Tensor:
        optimizer.zero_grad(set_to_none=True)
        velocity = model(inputs["latent"], inputs["timestep"], inputs["caption"], return_dict=False)[0]
        loss = (velocity - target).square().mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return loss.detach()

    losses = torch.stack([step() for _ in range(STEPS)])
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        step()
    times = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(times.values())
    shares = {name: time / total for name, time in sorted(times.items(), key=lambda item: -item[1])}
    left = {"losses": losses.numpy(), "profile": as_array(shares)}
    save_file(left, folder / f"{PEER}.safetensors")
    serve({STEP: step})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
