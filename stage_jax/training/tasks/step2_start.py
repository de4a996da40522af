"""What STEP2 starts from: an earlier STEP2, or Wan's text-to-video model, brought to the input channels of a recipe."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax.numpy as jnp
from jaxtyping import Array, Float

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import stack_params
from stage_jax.models.umt5 import UMT5Config
from stage_jax.recipes.memory import HINTS
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.training.state import Params
from stage_jax.weights.folder import part_config, read_manifest, read_part

PATCHES = "patch_embedding.base.kernel"
DIT, TEXT = "dit.", "umt5."  # prefixes of the two models' parameters


def start_sizes(sizes: DiTConfig, recipe: STEP2Config, init: Path | None) -> DiTConfig:
    """The sizes of a model with the input channels and the image branch of a recipe."""
    image_dim = sizes.image_dim
    if recipe.image_tokens and image_dim is None:
        if init is None:
            raise InputError("config.recipe.image_tokens: found without config.init, expected a folder with the part clip")
        image_dim = part_config(init, "clip", CLIPConfig).dim
    channels = sizes.out_channels + HINTS * recipe.hints
    return dataclasses.replace(sizes, in_channels=channels, image_dim=image_dim, image_positions=None)


def start_params(fresh: Params, folder: Path, sizes: DiTConfig) -> Params:
    """Fresh parameters with those of a model folder in their place. What the folder's model does not have begins without a say:
    hints at zero, an image branch with values of zero. InputError for parameters that are missing or of another shape."""
    parts = read_manifest(folder)["parts"]
    part = "step2" if "step2" in parts else "dit"
    found = {DIT + name: value for name, value in _stacked(folder, part, DiTConfig, sizes.scan_layers).items()}
    if "umt5" in parts and any(name.startswith(TEXT) for name in fresh):
        scan = part_config(folder, "umt5", UMT5Config).scan_layers
        found |= {TEXT + name: value for name, value in _stacked(folder, "umt5", UMT5Config, scan).items()}
    if DIT + PATCHES in found:
        found[DIT + PATCHES] = with_channels(found[DIT + PATCHES], sizes.in_channels)
    params = {}
    for name, value in fresh.items():
        params[name] = found.get(name, jnp.zeros_like(value) if ".value_image." in name else value)
        if name not in found and "image" not in name and (name.startswith(DIT) or "umt5" in parts):
            raise InputError(f"{folder / part}: found no {name}; is config.model the model of this folder?")
        if params[name].shape != value.shape:
            shapes = f"found {params[name].shape}, expected {value.shape}"
            raise InputError(f"{folder / part}: {name}: {shapes}; is config.model the model of this folder?")
    return params


def with_channels(kernel: Float[Array, "c t h w d"], channels: int) -> Float[Array, "channels t h w d"]:
    """A patch kernel for more input channels, which begin at zero and so change nothing at the start, or for the first ones."""
    missing = max(0, channels - kernel.shape[0])
    return jnp.pad(kernel, ((0, missing), *[(0, 0)] * 4))[:channels]


def _stacked(folder: Path, part: str, config_type: type, scan: bool) -> Params:
    _, params = read_part(folder, part, config_type)
    return stack_params(params) if scan else params
