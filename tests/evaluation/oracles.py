"""Exact stand-ins for models, and small held-out stories."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np

from data_pipeline.toy_cinema.written import to_story
from data_pipeline.toy_records import toy_example
from stage_jax.evaluation.held_out import HeldOut
from stage_jax.evaluation.levels import EASY
from stage_jax.generate.models import PictureCodec
from stage_jax.models.vae_config import VAEConfig

PATCH = 8
CHANNELS = 3 * PATCH**2


def bare(cls: type, **fields):
    """An object of a frozen dataclass with these fields alone."""
    made = object.__new__(cls)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    return made


class PatchCodec(PictureCodec):
    """Latents that are the picture itself, 8x8 pixels on the channels: nothing is lost."""

    def encode_stills(self, pictures):
        n, h, w, _ = pictures.shape
        patches = np.asarray(pictures, np.float32).reshape(n, h // PATCH, PATCH, w // PATCH, PATCH, 3)
        return jnp.asarray(patches.transpose(0, 2, 4, 5, 1, 3).reshape(n, CHANNELS, h // PATCH, w // PATCH) / 255)

    def decode_stills(self, latents):
        n, _, h, w = latents.shape
        patches = np.asarray(latents).reshape(n, PATCH, PATCH, 3, h, w).transpose(0, 4, 1, 5, 2, 3)
        return np.round(patches.reshape(n, h * PATCH, w * PATCH, 3) * 255).clip(0, 255).astype(np.uint8)

    def encode_clips(self, clips):
        return jnp.asarray(clips, jnp.float32)[None]

    def decode_clips(self, latents):
        return np.asarray(latents[0]).astype(np.uint8)


def patch_codec() -> PatchCodec:
    return bare(PatchCodec, vae=SimpleNamespace(config=VAEConfig(latent_channels=CHANNELS)))


def story(seed: int, clips: bool = False, shots: int | None = None) -> HeldOut:
    """The toy story of a seed of the test split, index = seed; of so many shots, or as many as it has."""
    toy = EASY.draw(seed, "test", shots)
    example = toy_example(toy, clips)
    n, size = example.shots, example.frames.shape[1:]
    return HeldOut(
        seed, to_story(toy), toy, example.frames.reshape(n, -1, *size),
        example.clips.reshape(n, len(example.clips) // n, *size),
    )  # fmt: skip


SCREENPLAY = """Title: Two shots

EXT. ELM HILL - DAY

Wide shot. MIA is a red square with a crown. Mia walks right at Elm Hill. Elm Hill has a day sky over grass with a tree.

Close shot. Mia jumps at Elm Hill.
"""


def screenplay(folder: Path) -> Path:
    path = folder / "two.fountain"
    path.write_text(SCREENPLAY, encoding="utf-8")
    return path
