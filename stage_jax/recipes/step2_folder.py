"""The recipe that a trained STEP2 names in its model folder, held against the sizes of its DiT."""

from __future__ import annotations

from pathlib import Path

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.recipes.memory import HINTS
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.weights.config_types import read_config
from stage_jax.weights.folder import part_config, part_sampling


def read_recipe(folder: Path, part: str) -> STEP2Config:
    """The recipe of a part; the tiny model's where it names none. InputError if it is no recipe, or not one for this DiT."""
    said, where = part_sampling(folder, part).get("recipe", {}), f"{folder / 'model.json'}: parts.{part}.sampling.recipe"
    if not isinstance(said, dict):
        raise InputError(f"{where}: found {said!r}, expected an object")
    recipe, sizes = read_config(said, where, STEP2Config), part_config(folder, part, DiTConfig)
    if said:
        check_recipe(recipe, sizes, where)
    return recipe


def check_recipe(recipe: STEP2Config, sizes: DiTConfig, where: str) -> None:
    """InputError if a DiT of these sizes has no channels for the recipe's hints, or no branch for its image tokens."""
    expected = sizes.out_channels + HINTS * recipe.hints
    if sizes.in_channels != expected:
        raise InputError(f"{where}.hints: found {recipe.hints} for {sizes.in_channels} input channels, expected {expected}")
    if recipe.image_tokens != (sizes.image_dim is not None):
        has = "has none" if sizes.image_dim is None else "reads them"
        raise InputError(f"{where}.image_tokens: found {recipe.image_tokens}, but the model {has}")
