"""The models of a folder that holds only some parts, as training leaves it: what is not there yet is None."""

from __future__ import annotations

from pathlib import Path

from flax import nnx

from stage_jax.generate.models import CaptionEncoder, Denoiser, Models, PictureCodec
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import with_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder
from stage_jax.models.vae import VAE, VAEConfig
from stage_jax.weights.folder import part_hash, part_sampling, read_manifest, read_part


def read_codec(folder: Path) -> PictureCodec:
    """The VAE, which every model folder has."""
    config, params = read_part(folder, "vae", VAEConfig)
    return PictureCodec(with_params(nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0))), params))


def read_drawing(folder: Path) -> tuple[CaptionEncoder, Denoiser]:
    """The text encoder with its tokenizer, and STEP2."""
    config, params = read_part(folder, "umt5", UMT5Config)
    encoder = with_params(nnx.eval_shape(lambda: UMT5Encoder(config, nnx.Rngs(0))), params)
    return CaptionEncoder(WordTokenizer.load(folder / "tokenizer"), encoder), _read_dit(folder, "step2")


def read_models(folder: Path) -> Models:
    """All models of a folder; the filler is None if it is not there."""
    captions, step2 = read_drawing(folder)
    parts = read_manifest(folder)["parts"]
    filler = _read_dit(folder, "dit") if "dit" in parts else None
    hashes = {part: part_hash(folder, part) for part in parts}
    return Models(read_codec(folder), captions, filler, step2, hashes)


def _read_dit(folder: Path, part: str) -> Denoiser:
    config, params = read_part(folder, part, DiTConfig)
    dit = with_params(nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0))), params)
    return Denoiser(dit, part_sampling(folder, part))
