"""What STEP2 starts from: an earlier STEP2, or Wan's text-to-video model, brought to the input channels of a recipe."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from data_pipeline.records import open_records
from data_pipeline.texts import captions_of
from data_pipeline.toy_cinema import captions as easy
from data_pipeline.toy_cinema.full import captions as full
from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import stack_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.vae_config import VAEConfig
from stage_jax.recipes.memory import HINTS
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.training.state import Params
from stage_jax.weights.folder import part_config, read_manifest, read_part

PATCHES = "patch_embedding.base.kernel"
RECORDS = "records"  # the captions whose words a text encoder learns, where it does not have them


def start_sizes(sizes: DiTConfig, recipe: STEP2Config, init: Path | None) -> DiTConfig:
    """The sizes of a model with the input channels and the image branch of a recipe, and captions as long as those of the
    STEP2 that it goes on from."""
    image_dim = sizes.image_dim
    if init is not None and "step2" in read_manifest(init)["parts"]:
        sizes = dataclasses.replace(sizes, text_len=part_config(init, "step2", DiTConfig).text_len)
    if recipe.image_tokens and image_dim is None:
        if init is None:
            raise InputError("config.recipe.image_tokens: found without config.init, expected a folder with the part clip")
        image_dim = part_config(init, "clip", CLIPConfig).dim
    channels = sizes.out_channels + HINTS * recipe.hints
    return dataclasses.replace(sizes, in_channels=channels, image_dim=image_dim, image_positions=None)


def start_dit(folder: Path, sizes: DiTConfig, abstract: Mapping[str, Any], fresh: Callable[[], Params]) -> Params:
    """The parameters of a model folder's STEP2, or else of Wan's DiT, in the form and types of `abstract`.

    What they do not have begins without a say: hints at zero, an image branch as in `fresh()` with values of zero. InputError
    for parameters that are missing or of another shape."""
    part = "step2" if "step2" in read_manifest(folder)["parts"] else "dit"
    _, found = read_part(folder, part, DiTConfig)
    found = stack_params(found) if sizes.scan_layers else dict(found)
    if PATCHES in found:
        found[PATCHES] = with_channels(found[PATCHES], sizes.in_channels)
    missing = [name for name in abstract if name not in found]
    if strange := [name for name in missing if "image" not in name]:
        raise InputError(f"{folder / part}: found no {strange[0]}; is config.model the model of this folder?")
    new = fresh() if missing else {}
    found |= {name: jnp.zeros_like(new[name]) if ".value_image." in name else new[name] for name in missing}
    for name, leaf in abstract.items():
        if found[name].shape != leaf.shape:
            shapes = f"found {found[name].shape}, expected {leaf.shape}"
            raise InputError(f"{folder / part}: {name}: {shapes}; is config.model the model of this folder?")
    return {name: found[name].astype(leaf.dtype) for name, leaf in abstract.items()}


def start_words(folder: Path | None, words: str, length: int, data: Path) -> WordTokenizer:
    """The words of the model that is gone on from, else those of a level of the toy world; with "records" instead of a level
    also, or else only, those of the training captions in `data`. length: ids a caption."""
    if folder and (folder / "tokenizer").is_dir():
        known = WordTokenizer(WordTokenizer.load(folder / "tokenizer").vocabulary, length)
    else:
        levels = {"easy": easy.vocabulary, "full": full.vocabulary}
        known = WordTokenizer(levels[words]()[2:] if words in levels else (), length)
    if words != RECORDS:
        return known
    records = open_records(data, "train", ("story",))
    return known.grown(captions_of((json.loads(record["story"]) for record in records), records.directory))


def with_words(table: Float[Array, "known dim"], words: int, key: PRNGKeyArray) -> Float[Array, "words dim"]:
    """The token table of a text encoder with rows for more words behind those that are there.

    They are drawn from the normal distribution that the rows have in each channel (our choice): so they are as large as known
    words, and as unlike them as these are unlike each other; the mean of all would be smaller, and one for all."""
    new = jax.random.normal(key, (words - len(table), table.shape[1]), table.dtype)
    return jnp.concatenate([table, table.mean(0) + table.std(0) * new])


def check_size(latents: Shaped[np.ndarray, "shots 2 c h w"], size: tuple[int, int], vae: Path) -> None:
    """InputError if a model is to be sampled at another size than that of the pictures that it learns from."""
    stride = part_config(vae, "vae", VAEConfig).spatial_stride
    height, width = (side * stride for side in latents.shape[-2:])
    if size != (height, width):
        raise InputError(f"config.sampling.size: found {size}, expected that of the records, {(height, width)}")


def with_channels(kernel: Float[Array, "c t h w d"], channels: int) -> Float[Array, "channels t h w d"]:
    """A patch kernel for more input channels, which begin at zero and so change nothing at the start, or for the first ones."""
    missing = max(0, channels - kernel.shape[0])
    return jnp.pad(kernel, ((0, missing), *[(0, 0)] * 4))[:channels]
