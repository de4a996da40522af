"""CLIP as STEP2's recipes use it: to rank what is remembered, and to show the model the previous end frame."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.clip_tokenizer import CLIPTokenizer
from stage_jax.models.stacking import stack_params, with_params
from stage_jax.recipes.step2_config import CLIP_RANKINGS, STEP2Config
from stage_jax.weights.folder import read_part


@dataclasses.dataclass(frozen=True, eq=False)
class CLIPEmbedder:
    """tokenizer: None where texts are not asked for."""

    clip: CLIP
    tokenizer: CLIPTokenizer | None = None

    def frames(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n d"]:
        return np.asarray(self._frames(self._pixels(pictures)), np.float32)

    def tokens(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[np.ndarray, "n m e"]:
        """The features that Wan's image branch reads."""
        return np.asarray(self._tokens(self._pixels(pictures)), np.float32)

    def texts(self, texts: Sequence[str]) -> Float[np.ndarray, "n d"]:
        return np.asarray(self._texts(self.tokenizer.encode(texts)), np.float32)

    def no_tokens(self) -> Float[np.ndarray, "m e"]:
        """What stands where there is no previous end frame."""
        config = self.clip.config
        return np.zeros((1 + (config.picture // config.patch) ** 2, config.dim), np.float32)

    def _pixels(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Array, "n s s 3"]:
        return clip_pictures(jnp.asarray(pictures, jnp.float32) / 127.5 - 1, self.clip.config.picture)

    @functools.cached_property
    def _frames(self):
        return jax.jit(self.clip.vision.embed)

    @functools.cached_property
    def _tokens(self):
        return jax.jit(self.clip.vision)

    @functools.cached_property
    def _texts(self):
        return jax.jit(self.clip.text)


def read_clip_for(recipe: STEP2Config, folder: Path) -> CLIPEmbedder | None:
    """The CLIP of a model folder, if a recipe asks for it. InputError if the folder does not have it."""
    if recipe.ranking not in CLIP_RANKINGS and not recipe.image_tokens:
        return None
    config, params = read_part(folder, "clip", CLIPConfig)
    model = nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0)))
    clip = with_params(model, stack_params(params) if config.scan_layers else params)
    return CLIPEmbedder(clip, CLIPTokenizer.load(folder / "clip_tokenizer") if recipe.ranking == "clip_text" else None)
