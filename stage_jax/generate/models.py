"""The models of a film, read from a model folder, as compiled functions over pictures and captions."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import with_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.models.vae import VAE, VAEConfig
from stage_jax.weights.folder import part_hash, part_sampling, read_part


@dataclasses.dataclass(frozen=True, eq=False)
class PictureCodec:
    """The VAE between uint8 pictures and normalised latents."""

    vae: VAE

    @functools.cached_property
    def _encode(self):
        return jax.jit(self.vae.encode)

    @functools.cached_property
    def _decode(self):
        return jax.jit(lambda latent: jnp.round((self.vae.decode(latent) + 1) * 127.5).astype(jnp.uint8))

    def encode_stills(self, pictures: UInt8[np.ndarray, "n h w 3"]) -> Float[Array, "n c y x"]:
        """Each picture encoded alone, as a clip of one frame."""
        return self._encode(to_pixels(pictures)[:, None])[:, :, 0]

    def decode_stills(self, latents: Float[Array, "n c y x"]) -> UInt8[np.ndarray, "n h w 3"]:
        return np.asarray(self._decode(latents[:, :, None])[:, 0])

    def decode_clips(self, latents: Float[Array, "n c t y x"]) -> UInt8[np.ndarray, "n frames h w 3"]:
        return np.asarray(self._decode(latents))

    def encode_clips(self, clips: UInt8[np.ndarray, "n frames h w 3"]) -> Float[Array, "n c t y x"]:
        return self._encode(to_pixels(clips))


@dataclasses.dataclass(frozen=True, eq=False)
class CaptionEncoder:
    """Tokenizer and umT5."""

    tokenizer: WordTokenizer
    encoder: UMT5Encoder

    @functools.cached_property
    def _encode(self):
        return jax.jit(lambda ids, mask: zero_padding(self.encoder(ids, mask), mask))

    def __call__(self, captions: Sequence[str], allow_unknown: bool = False) -> Float[Array, "n l d"]:
        """Embeddings with zeros past the text. InputError names all words that the tokenizer does not know, unless
        `allow_unknown`, which leaves them out."""
        return self._encode(*self.tokenizer.encode(list(captions), allow_unknown=allow_unknown))


@dataclasses.dataclass(frozen=True, eq=False)
class Denoiser:
    """A DiT and how it likes to be sampled."""

    dit: DiT
    sampling: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
    """Everything a film needs. step2 is None where all pairs are given. hashes: weights by part."""

    codec: PictureCodec
    captions: CaptionEncoder
    filler: Denoiser
    step2: Denoiser | None
    hashes: Mapping[str, str]


def load_models(folder: Path, step2_folder: Path | None = None, *, draw: bool = True) -> Models:
    """Reads `vae`, `umt5`, `tokenizer` and `dit` of a model folder, and `step2` from `step2_folder` or the same one unless
    `draw` is off. InputError names what is missing."""
    sources = dict.fromkeys(("vae", "umt5", "dit"), folder) | ({"step2": step2_folder or folder} if draw else {})
    return Models(
        codec=PictureCodec(_read(folder, "vae", VAEConfig, VAE)),
        captions=CaptionEncoder(WordTokenizer.load(folder / "tokenizer"), _read(folder, "umt5", UMT5Config, UMT5Encoder)),
        filler=_denoiser(folder, "dit"),
        step2=_denoiser(sources["step2"], "step2") if draw else None,
        hashes={part: part_hash(source, part) for part, source in sources.items()},
    )


def _denoiser(folder: Path, part: str) -> Denoiser:
    return Denoiser(_read(folder, part, DiTConfig, DiT), part_sampling(folder, part))


def _read(folder: Path, part: str, config_type: type, model_type: type) -> Any:
    config, params = read_part(folder, part, config_type)
    return with_params(nnx.eval_shape(lambda: model_type(config, nnx.Rngs(0))), params)


def to_pixels(pictures: UInt8[np.ndarray, "*n 3"]) -> Float[Array, "*n 3"]:
    """uint8 pictures as the models' pixels in [-1, 1]."""
    return jnp.asarray(pictures, jnp.float32) / 127.5 - 1
