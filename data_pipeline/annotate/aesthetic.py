"""An aesthetic score: a linear head on CLIP's embedding of a picture, as LAION's predictors are.

Those were fitted to OpenAI's ViT-L/14. A head belongs to one CLIP model; for the one that Wan uses (the part `clip` of a model
folder) nobody has published any, so it is to be fitted by whoever has ratings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8
from safetensors.numpy import load_file

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.stacking import stack_params, with_params
from stage_jax.weights.folder import read_part
from stage_jax.weights.header import DTYPES, read_header


class Aesthetic:
    """head: safetensors with `weight` [1, projection] and `bias` [1], of the normalised embedding. model: the model folder of
    the CLIP that it belongs to. InputError if they do not go together."""

    name = "aesthetic"
    over: Literal["mean", "most"] = "mean"

    def __init__(self, head: Path, model: Path) -> None:
        config, params = read_part(model, "clip", CLIPConfig)
        if config.projection is None:
            raise InputError(f"{model}: this CLIP has no projection, expected one with embeddings of whole pictures")
        weight, bias = read_head(head, config.projection)
        clip = nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0)))

        @jax.jit
        def score(params: dict[str, Array], pixels: Float[Array, "1 s s 3"]) -> Float[Array, ""]:
            seen = with_params(clip, params).vision.embed(pixels)[0].astype(jnp.float32)
            return jnp.vdot(seen / jnp.linalg.norm(seen), weight[0], precision="highest") + bias[0]

        params = stack_params(params) if config.scan_layers else params
        self._score, self._params, self._side = score, params, config.picture

    def __call__(self, picture: UInt8[np.ndarray, "height width 3"]) -> float:
        pixels = clip_pictures(picture[None].astype(np.float32) / 127.5 - 1, self._side)
        return float(self._score(self._params, pixels))


def read_head(path: Path, projection: int) -> tuple[Float[np.ndarray, "1 d"], Float[np.ndarray, "1"]]:
    """The weights of a head. InputError for other arrays than `weight` [1, projection] and `bias` [1] in a float type."""
    if not path.is_file():
        raise InputError(f"{path}: found no file, expected an aesthetic head in safetensors")
    stored = read_header(path)
    wanted = {"weight": (1, projection), "bias": (1,)}
    found = {name: entry.shape for name, entry in stored.items()}
    if found != wanted or any(entry.dtype not in DTYPES for entry in stored.values()):
        told = ", ".join(f"{name} {list(shape)} {stored[name].dtype}" for name, shape in sorted(found.items())[:4]) or "nothing"
        raise InputError(f"{path}: found {told}, expected bias [1] and weight [1, {projection}] in a float type")
    arrays = load_file(path)
    return arrays["weight"].astype(np.float32), arrays["bias"].astype(np.float32)
