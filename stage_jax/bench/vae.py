"""`stage bench wan`, second half: Wan2.1's VAE at full width against diffusers' in torch, both a latent frame at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx
from safetensors.numpy import save_file

from stage_jax.bench.against_diffusers import Arrays, Bench, Report, against_diffusers
from stage_jax.evaluation.goldens import draw, relative_error
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.models.zoo import VAES, named
from stage_jax.weights.vae_table import vae_table

ENCODE, DECODE = "VAE encode", "VAE decode"
SIZE = (9, 64, 96)  # frames, height, width: three latent frames, so that first, second and later chunks count


def bench_vae(
    *,
    rounds: int,
    threads: int | None,
    size: str = "wan2.1",
    video: tuple[int, int, int] = SIZE,
    progress: Report | None = None,
) -> Bench:
    """Times both, and compares latents and pictures. size: of `models.zoo.VAES`. InputError as `against_diffusers`."""

    def task(folder: Path) -> dict[str, Any]:
        write_task(folder, size, video)
        return {"video": video, "vae": size}

    return against_diffusers("vae", task, (ENCODE, DECODE), compare, rounds=rounds, threads=threads, progress=progress)


def compare(ours: Arrays, peer: Arrays) -> dict[str, float]:
    """How far latents and pictures are apart."""
    return {name: relative_error(ours[name], peer[name]) for name in ("latents", "pictures")}


def write_task(folder: Path, size: str, video: tuple[int, int, int], seed: int = 0) -> None:
    """What both contenders read: the size's name, weights in diffusers' names, a clip and latents."""
    config = named(VAES, size)
    abstract = flat_params(nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0))))
    table = {entry.ours: entry for entry in vae_table(config)}
    # Drawn by torch's names and shapes: the recipe scales each weight by its fan-in.
    state = {
        table[path].diffusers: draw(table[path].torch, table[path].torch_shape(tuple(leaf.shape)), seed)
        for path, leaf in abstract.items()
    }
    save_file(state, folder / "weights.safetensors")
    rng = np.random.default_rng(seed)
    frames, height, width = video
    side = config.spatial_stride
    latent = (1, config.latent_channels, config.latent_frames(frames), height // side, width // side)
    inputs = {
        "video": rng.uniform(-1, 1, (1, 3, *video)).astype(np.float32),
        "latents": rng.standard_normal(latent, dtype=np.float32),
    }
    save_file(inputs, folder / "inputs.safetensors")
    (folder / "size").write_text(size)
