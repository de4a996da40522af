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
from stage_jax.generate.video_folder import open_models
from stage_jax.generate.wan_filler import WanFiller, wan_filler
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.piece_tokenizer import Tokenizer, load_tokenizer
from stage_jax.models.stacking import flat_params, stack_params, unstack_params, with_params
from stage_jax.models.tokenizer import WordTokenizer
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
NO_STEP2 = (
    "no STEP2, the model that draws the pairs, and none is published: STEP2 on Wan is this project's own. Train one "
    "(docs/STEP2.md) and give its folder with --step2; or give the pairs, with stage film --pairs"
)


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
    recipe of STEP2 does not ask for it; codec and captions are None where Wan's own models fill given pairs, which have their
    own. hashes: weights by part."""

    codec: PictureCodec | None
    captions: CaptionEncoder | None
    filler: Denoiser | WanFiller | None
    step2: Denoiser | None
    hashes: Mapping[str, str]
    clip: CLIPEmbedder | None = None

    @property
    def clip_tokenizer(self) -> Tokenizer:
        """That of the filler."""
        return self.filler.models.tokenizer if isinstance(self.filler, WanFiller) else self.captions.tokenizer

    def latent_shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the frames that STEP2 draws."""
        vae, size = self.codec.vae.config, self.step2.sampling["size"]
        return vae.latent_channels, size[0] // vae.spatial_stride, size[1] // vae.spatial_stride


def load_models(folder: Path, step2_folder: Path | None = None, *, draw: bool = True, fill: bool = True) -> Models:
    """Reads `vae`, `umt5`, `tokenizer` and, unless `fill` is off, `dit` of a model folder, or the same of Wan's own folder or
    diffusers'; and unless `draw` is off `step2` of the model folder `step2_folder`, or of `folder`. A filler whose model.json
    does not say all of how it is sampled is taken for Wan's own, unless it reads words. InputError names what is missing."""
    if not _is_ours(folder, fill):
        return _load_wan(folder, step2_folder, draw, fill)
    if draw and not step2_folder and _has(folder) and not _has(folder, "step2"):
        raise InputError(f"{folder}: {NO_STEP2}")
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


def _has(folder: Path, *parts: str) -> bool:
    """Whether it is a model folder with these parts."""
    return (folder / "model.json").is_file() and all(part in read_manifest(folder)["parts"] for part in parts)


def _is_ours(folder: Path, fill: bool) -> bool:
    """Whether it is a model folder whose filler is one of this project's: of one length, or of words, alone, without CLIP."""
    if not _has(folder):
        return not folder.is_dir()  # and then the reader of model folders says so
    if not fill or not _has(folder, "dit"):
        return True
    alone = not _has(folder, "dit_low") and part_config(folder, "dit", DiTConfig).image_dim is None
    said = all(name in part_sampling(folder, "dit") for name in CLIP_SAMPLING)
    return alone and (said or isinstance(load_tokenizer(folder / "tokenizer"), WordTokenizer))  # Wan's models read pieces


def _load_wan(folder: Path, step2_folder: Path | None, draw: bool, fill: bool) -> Models:
    """Wan's own models of any layout. STEP2 reads with the VAE and the text encoder beside it, or those of Wan where it has
    none."""
    opened = open_models(folder, "float32" if jax.default_backend() == "cpu" else "bfloat16")
    if not draw:
        filler = wan_filler(opened, folder)
        return Models(None, None, filler, None, filler.hashes)
    if not step2_folder and not _has(folder, "step2"):
        raise InputError(f"{folder}: {NO_STEP2}")
    step2_folder = step2_folder or folder
    step2 = read_denoiser(step2_folder, "step2", PAIR_SAMPLING)
    clip = read_clip_for(step2.recipe, step2_folder)
    filler = wan_filler(opened, folder, tuple(step2.sampling["size"])) if fill else None
    beside = [part for part in ("vae", "umt5") if _has(step2_folder, part)]
    codec = read_codec(step2_folder) if "vae" in beside else PictureCodec(opened.models.vae.module())
    if "umt5" in beside:
        captions = read_captions(step2_folder)
    else:
        captions = CaptionEncoder(opened.models.tokenizer, opened.models.umt5.module())
    _check_fit(codec, captions, step2, step2_folder)
    own = {part: part_hash(step2_folder, part) for part in ("step2", *beside, *(("clip",) if clip else ()))}
    others = filler.hashes if filler else opened.hashes({"vae", "umt5"} - own.keys())
    others = {f"filler_{part}" if own.get(part, value) != value else part: value for part, value in others.items()}
    return Models(codec, captions, filler, step2, others | own, clip)


def _check_fit(codec: PictureCodec, captions: CaptionEncoder, step2: Denoiser, folder: Path) -> None:
    dit = step2.dit.config
    for what, found, expected in (
        ("channels of the VAE's latents", codec.vae.config.latent_channels, dit.out_channels),
        ("width of the text encoder", captions.encoder.config.dim, dit.text_dim),
    ):
        if found != expected:
            raise InputError(f"{folder}: step2: {what}: found {found}, it takes {expected}")
    if captions.tokenizer.length > dit.text_len:
        found = f"a tokenizer of {captions.tokenizer.length} ids a text"
        raise InputError(f"{folder}: step2: {found}, it takes {dit.text_len}")


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
