"""The models of a film, read from a model folder, as compiled functions over pictures and captions."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, UInt8

from stage_jax.errors import InputError
from stage_jax.generate.clip_embedder import CLIPEmbedder, read_clip_for
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.piece_tokenizer import Tokenizer, load_tokenizer
from stage_jax.models.stacking import flat_params, stack_params, unstack_params, with_params
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.recipes.step2_folder import read_recipe
from stage_jax.sampling.named import SOLVERS, solver_named
from stage_jax.sampling.solver import Solver
from stage_jax.weights.folder import part_config, part_hash, part_sampling, read_manifest, read_part

PAIR_SAMPLING = ("steps", "shift", "guidance", "size")  # what model.json says of how STEP2 is sampled
CLIP_SAMPLING = (*PAIR_SAMPLING, "frames")  # and of the filler


@dataclasses.dataclass(frozen=True, eq=False)
class PictureCodec:
    """The VAE between uint8 pictures and normalised latents."""

    vae: VAE

    @functools.cached_property
    def _encode(self):
        return jax.jit(self.vae.encode)

    @functools.cached_property
    def _decode(self):
        return jax.jit(lambda latent: self.vae.decode(latent, finish=to_bytes))

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

    tokenizer: Tokenizer
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
    """A DiT and how it likes to be sampled. recipe: how it sees a shot, if it is a STEP2."""

    dit: DiT
    sampling: Mapping[str, Any]
    recipe: STEP2Config = TINY

    def solver(self, steps: int | None = None) -> Solver:
        """steps: overrides its own."""
        return solver_named(self.sampling["solver"], steps or self.sampling["steps"], self.sampling["shift"])


@dataclasses.dataclass(frozen=True, eq=False)
class Models:
    """Everything a film needs. step2 is None where all pairs are given, filler where no clips are wanted, clip where the
    recipe of STEP2 does not ask for it. hashes: weights by part."""

    codec: PictureCodec
    captions: CaptionEncoder
    filler: Denoiser | None
    step2: Denoiser | None
    hashes: Mapping[str, str]
    clip: CLIPEmbedder | None = None

    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the frames that STEP2 draws."""
        vae, size = self.codec.vae.config, self.step2.sampling["size"]
        return vae.latent_channels, size[0] // vae.spatial_stride, size[1] // vae.spatial_stride


def load_models(folder: Path, step2_folder: Path | None = None, *, draw: bool = True, fill: bool = True) -> Models:
    """Reads `vae`, `umt5`, `tokenizer` and, unless `fill` is off, `dit` of a model folder, and `step2` from `step2_folder` or
    the same one unless `draw` is off. InputError names what is missing."""
    if draw and step2_folder:
        _check_partners(step2_folder, folder)
    sources = dict.fromkeys(("vae", "umt5"), folder)
    sources |= ({"dit": folder} if fill else {}) | ({"step2": step2_folder or folder} if draw else {})
    step2 = read_denoiser(sources["step2"], "step2", PAIR_SAMPLING) if draw else None
    clip = read_clip_for(step2.recipe, folder) if step2 else None
    return Models(
        codec=read_codec(folder),
        captions=read_captions(folder),
        filler=read_denoiser(folder, "dit", CLIP_SAMPLING) if fill else None,
        step2=step2,
        hashes={part: part_hash(source, part) for part, source in (sources | ({"clip": folder} if clip else {})).items()},
        clip=clip,
    )


def read_codec(folder: Path) -> PictureCodec:
    return PictureCodec(_read(folder, "vae", VAEConfig, VAE))


def read_captions(folder: Path) -> CaptionEncoder:
    return CaptionEncoder(load_tokenizer(folder / "tokenizer"), _read(folder, "umt5", UMT5Config, UMT5Encoder))


def read_denoiser(folder: Path, part: str, needed: Sequence[str]) -> Denoiser:
    """The DiT of a part; without a word about the solver it is sampled by Euler's. InputError if its way of sampling does not
    say all that is `needed`, or says what cannot be."""
    sampling = {"solver": "euler"} | part_sampling(folder, part)
    if missing := [name for name in needed if name not in sampling]:
        raise InputError(f"{folder / 'model.json'}: parts.{part}.sampling: {', '.join(missing)} missing")
    if sampling["solver"] not in tuple(SOLVERS):
        place = f"{folder / 'model.json'}: parts.{part}.sampling.solver"
        raise InputError(f"{place}: found {sampling['solver']!r}, expected one of {', '.join(SOLVERS)}")
    _check_sampling(folder, part, {name: sampling[name] for name in (*needed, "rescale", "landing") if name in sampling})
    return Denoiser(_read(folder, part, DiTConfig, DiT), sampling, read_recipe(folder, part))


def _check_sampling(folder: Path, part: str, sampling: Mapping[str, Any]) -> None:
    """Sizes are held against the VAE of the folder, or Wan's where there is none: every patch must be whole."""
    vae = part_config(folder, "vae", VAEConfig) if "vae" in read_manifest(folder)["parts"] else VAEConfig()
    side = vae.spatial_stride * math.lcm(*part_config(folder, part, DiTConfig).kernels[0][1:])
    stride = vae.temporal_stride
    rules: dict[str, tuple[Callable[[Any], bool], str]] = {
        "steps": (lambda steps: _is_whole(steps, 1) and steps <= 1000, "a whole number from 1 to 1000"),
        "shift": (lambda shift: _is_number(shift) and shift > 0, "a number above 0"),
        "guidance": (lambda guidance: _is_number(guidance) and guidance >= 0, "a number, 0 or more"),
        "size": (
            lambda size: isinstance(size, list) and len(size) == 2 and all(_is_whole(s, 1) and s % side == 0 for s in size),
            f"height and width, multiples of {side}",
        ),
        "landing": (lambda steps: _is_whole(steps, 0) and steps <= 1000, "a whole number from 0 to 1000"),
        "rescale": (lambda rescale: isinstance(rescale, bool), "true or false"),
        "frames": (lambda frames: _is_whole(frames, 1) and frames % stride == 1 % stride, f"1 + a multiple of {stride}"),
    }
    for name, value in sampling.items():
        fits, expected = rules[name]
        if not fits(value):
            place = f"{folder / 'model.json'}: parts.{part}.sampling.{name}"
            raise InputError(f"{place}: found {value!r}, expected {expected}")


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_partners(step2_folder: Path, folder: Path) -> None:
    """STEP2 reads captions and latents of the text encoder and VAE beside it; others would give noise without a word."""
    for part in ("vae", "umt5"):
        if part in read_manifest(step2_folder)["parts"] and part_hash(step2_folder, part) != part_hash(folder, part):
            raise InputError(f"{step2_folder}: its step2 was trained with another {part} than the one in {folder}")


def _read(folder: Path, part: str, config_type: type, model_type: type) -> Any:
    config, params = read_part(folder, part, config_type)
    model = nnx.eval_shape(lambda: model_type(config, nnx.Rngs(0)))
    # Held against each other layer by layer, as the file has them: a layer that is missing or odd cannot be stacked.
    shapes = {name: np.broadcast_to(np.float32(0), leaf.shape) for name, leaf in flat_params(model).items()}
    expected = {name: array.shape for name, array in unstack_params(shapes).items()}
    found = {name: array.shape for name, array in params.items()}
    if differ := sorted({name for name, _ in expected.items() ^ found.items()}):
        named = f"{', '.join(differ[:3])}{' and others' if len(differ) > 3 else ''}"
        raise InputError(f"{folder / part}: weights that do not fit the config in model.json: {named}")
    return with_params(model, stack_params(params) if getattr(config, "scan_layers", False) else params)


def to_pixels(pictures: UInt8[np.ndarray, "*n 3"]) -> Float[Array, "*n 3"]:
    """uint8 pictures as the models' pixels in [-1, 1]."""
    return jnp.asarray(pictures, jnp.float32) / 127.5 - 1


def to_bytes(pixels: Float[Array, "*n 3"]) -> UInt8[Array, "*n 3"]:
    """The models' pixels as uint8 pictures; what is beyond [-1, 1] is clipped."""
    return jnp.round((jnp.clip(pixels, -1, 1) + 1) * 127.5).astype(jnp.uint8)
