"""The kinds of models that a pipeline is made of: how each is told, what its sizes are, and its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import jax
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.clip_detect import clip_of
from stage_jax.weights.clip_table import clip_shapes, clip_table
from stage_jax.weights.detect import family_of, naming_of
from stage_jax.weights.dit_table import DIT_TABLE, dit_shapes
from stage_jax.weights.strangers import first_like, refuse_strangers
from stage_jax.weights.table import Table, printable
from stage_jax.weights.umt5_detect import umt5_of
from stage_jax.weights.umt5_table import UMT5_TABLE, umt5_shapes
from stage_jax.weights.vae_detect import vae_of
from stage_jax.weights.vae_table import vae_table

Shapes = Mapping[str, jax.ShapeDtypeStruct]  # of parameters, by our unstacked paths


@dataclass(frozen=True)
class Asked:
    """What weights do not say. heads: of a DiT, if neither a config.json nor the size tells. experts: how many DiTs the
    pipeline has."""

    heads: int | None = None
    experts: int = 1


@dataclass(frozen=True)
class Kind:
    """words: for messages. config: its type. table, shapes: of a configuration; shapes are traced once. detect: name in the
    zoo, or None, and configuration of a checkpoint. sign: what the name of some entry is like, in every naming; None for the
    DiT, which is what is left."""

    words: str
    config: type
    table: Callable[[Any], Table]
    shapes: Callable[[Any], Shapes]
    detect: Callable[[Checkpoint, Asked], tuple[str | None, Any]]
    sign: str | None = None


def vae_shapes(config: VAEConfig) -> Shapes:
    """Paths and shapes of a VAE's parameters."""
    return flat_params(nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0))))


def _dit_of(checkpoint: Checkpoint, asked: Asked) -> tuple[str | None, DiTConfig]:
    return family_of(checkpoint, naming_of(checkpoint), heads=asked.heads, experts=asked.experts)


# Part of a model folder -> what it is.
_DIT = Kind("a Wan DiT", DiTConfig, lambda config: DIT_TABLE, cache(dit_shapes), _dit_of)
KINDS: dict[str, Kind] = {
    "dit": _DIT,
    "dit_low": _DIT,
    "vae": Kind(
        "a VAE", VAEConfig, vae_table, cache(vae_shapes), lambda checkpoint, asked: vae_of(checkpoint),
        r"(encoder|decoder)\.(conv1|conv_in|middle|mid_block|downsamples|down_blocks)\..*",
    ),
    "umt5": Kind(
        "a umT5 text encoder", UMT5Config, lambda config: UMT5_TABLE, cache(umt5_shapes),
        lambda checkpoint, asked: umt5_of(checkpoint),
        r".*pos_embedding\.embedding\.weight|shared\.weight|.*\.SelfAttention\..*|token_embedding\.weight",
    ),
    "clip": Kind(
        "a CLIP model", CLIPConfig, clip_table, cache(clip_shapes), lambda checkpoint, asked: clip_of(checkpoint),
        r"(visual|vision_model|textual|pre_layrnorm)\..*|log_scale",
    ),
}  # fmt: skip


def part_of(checkpoint: Checkpoint) -> str:
    """The part that a checkpoint is, by its entries; `dit` for either expert. InputError if it is none."""
    refuse_strangers(checkpoint)
    for part, kind in KINDS.items():
        if kind.sign is not None and first_like(kind.sign, checkpoint.entries):
            return part
    naming_of(checkpoint)
    return "dit"


def check_part(checkpoint: Checkpoint, part: str) -> None:
    """InputError unless the checkpoint is that part, which its place says it is."""
    found = part_of(checkpoint)
    if KINDS[found] is not KINDS[part]:
        sign = first_like(KINDS[found].sign or ".*", checkpoint.entries)
        looks = f"looks like {KINDS[found].words} (its entry {printable(str(sign))})"
        raise InputError(f"{checkpoint.where}: {looks}, expected {KINDS[part].words}")
