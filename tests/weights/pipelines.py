"""Tiny random pipelines as model folders, of every part and of several types."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae_config import WAN22_LATENT_MEAN, WAN22_LATENT_STD, VAEConfig
from stage_jax.models.zoo import CLIPS, DITS
from stage_jax.weights.folder import open_part, write_part
from stage_jax.weights.kinds import KINDS

UMT5 = UMT5Config(vocabulary=11, dim=24, attention_dim=12, ffn_dim=20, heads=2, layers=2, buckets=8)
VAE = VAEConfig(base=2, multipliers=(1, 2, 4), res_blocks=1, temporal_down=(True, False))
VAE22 = VAEConfig(
    base=2, decoder_base=4, multipliers=(1, 2, 2), res_blocks=1, latent_channels=48, patch=2, residual=True,
    temporal_down=(False, True), latent_mean=WAN22_LATENT_MEAN, latent_std=WAN22_LATENT_STD,
)  # fmt: skip
_TINY = CLIPS["tiny"]
CLIP = dataclasses.replace(_TINY, scan_layers=True, text=dataclasses.replace(_TINY.text, scan_layers=True))
PIPELINES: dict[str, dict[str, Any]] = {
    "i2v": {"dit": DITS["wan2.1-i2v-tiny"], "vae": VAE, "umt5": UMT5, "clip": CLIP},
    "a14b": {"dit": DITS["wan2.2-t2v-tiny"], "dit_low": DITS["wan2.2-t2v-tiny"], "vae": VAE, "umt5": UMT5},
    "ti2v": {"dit": DITS["wan2.2-ti2v-tiny"], "vae": VAE22, "umt5": UMT5},
}
TYPES = {"dit": "bfloat16", "dit_low": "bfloat16", "vae": "float32", "umt5": "bfloat16", "clip": "float16"}
TOKENIZER = {"tokenizer.json": b'{"kind": "words"}', "spiece.model": b"pieces\x00\x01", "tokenizer_config.json": b"{}"}


def write_pipeline(folder: Path, name: str) -> Path:
    for part, config in PIPELINES[name].items():
        sampling = {"shift": 7.0, "boundary": 0.875} if part == "dit" else None
        write_part(folder, part, config, random(part, config), dtype=TYPES[part], sampling=sampling)
    (folder / "tokenizer").mkdir()
    for file, data in TOKENIZER.items():
        (folder / "tokenizer" / file).write_bytes(data)
    return folder


@functools.cache
def random(part: str, config: Any) -> dict[str, Any]:
    """No parameter is zero or one, which would hide that two are exchanged."""
    rng = np.random.default_rng(len(part))
    shapes = KINDS[part].shapes(config)
    return {path: jnp.asarray(0.1 * rng.standard_normal(leaf.shape, np.float32)) for path, leaf in shapes.items()}


def arrays(folder: Path, part: str) -> dict[str, np.ndarray]:
    """All of a part of a model folder."""
    found = open_part(folder, part)
    return {path: found.read(path) for path in found.entries}
