"""Model folders of Wan's forms at the smallest sizes, with random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import CLIPS
from stage_jax.weights.folder import write_part
from tests.goldens import drawn
from tests.models.tokenizers import MARKS, PIECES, write_pieces

DIT = DiTConfig(dim=16, ffn_dim=16, heads=2, layers=1, text_dim=8, freq_dim=8, scan_layers=False)
CLIP_CONFIG = CLIPConfig(dim=6, ffn_dim=8, heads=2, layers=2, picture=8, patch=4, scan_layers=False)
ROWS = 5  # of a picture's features
FORMS = {
    "t2v": DIT,
    "i2v": dataclasses.replace(DIT, in_channels=36),  # of Wan2.2: no CLIP
    "i2v-clip": dataclasses.replace(DIT, in_channels=36, image_dim=6),
    "flf2v-clip": dataclasses.replace(DIT, in_channels=36, image_dim=6, image_positions=2 * ROWS),
    "i2v-2.1": dataclasses.replace(DIT, in_channels=36, image_dim=CLIPS["tiny"].dim),
    "flf2v-2.1": dataclasses.replace(DIT, in_channels=36, image_dim=CLIPS["tiny"].dim, image_positions=2 * 257),
    "ti2v": dataclasses.replace(DIT, in_channels=48, out_channels=48),
}


def vae_config(channels: int) -> VAEConfig:
    sizes = dict(base=2, multipliers=(1, 1, 1), res_blocks=1, temporal_down=(True, True), latent_channels=channels)
    if channels == 16:  # with Wan2.1's statistics, which files in the original layout do not tell
        return VAEConfig(**sizes)
    return VAEConfig(**sizes, latent_mean=(0.0,) * channels, latent_std=(1.0,) * channels)


def write_wan(folder: Path, form: str, *, experts: int = 1, **sampling: object) -> Path:
    """A model of a form whose tokens are 8 pixels a side. sampling: what model.json says of it."""

    def params(model_type: type, config: object, factor: float = 1.0) -> dict[str, jax.Array]:
        model = drawn(nnx.eval_shape(lambda: model_type(config, nnx.Rngs(0))))
        return {name: factor * jnp.asarray(value) for name, value in flat_params(model).items()}

    dit = FORMS[form]
    vae = vae_config(dit.out_channels)
    umt5 = UMT5Config(len(MARKS) + len(PIECES), 8, 8, 8, heads=2, layers=1, scan_layers=False)
    write_part(folder, "vae", vae, params(VAE, vae))
    write_part(folder, "umt5", umt5, params(UMT5Encoder, umt5))
    write_part(folder, "dit", dit, params(DiT, dit), sampling=sampling or None)
    if experts == 2:
        write_part(folder, "dit_low", dit, params(DiT, dit, 0.8))
    if dit.image_dim:
        clip = CLIPS["tiny"] if form.endswith("2.1") else CLIP_CONFIG  # the one has a text tower, too; the other is small
        write_part(folder, "clip", clip, params(CLIP, clip))
    write_pieces(folder / "tokenizer")
    return folder
