"""Named sizes of every model. "tiny" and what begins with it are trained on the toy cinema, and shipped but for "tiny-t2v";
DiTs that end with "-tiny" have the form of Wan's, untrained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae_config import WAN22_LATENT_MEAN, WAN22_LATENT_STD, VAEConfig

Config = TypeVar("Config")

# Unrolled, because XLA on the CPU differentiates a list of layers faster than a scanned stack; gates start at 1.
_TINY = dict(dim=128, ffn_dim=512, heads=4, layers=6, text_dim=128, text_len=40, freq_dim=128,
             scan_layers=False, gate_init=1.0)  # fmt: skip

# Wan's sizes (the configurations that are published with the weights); each of A14B's two models has the size of 14B.
_1_3B = dict(dim=1536, ffn_dim=8960, heads=12, layers=30)
_5B = dict(dim=3072, ffn_dim=14336, heads=24, layers=30)
_14B = dict(dim=5120, ffn_dim=13824, heads=40, layers=40)
_TRIAL = dict(dim=32, ffn_dim=64, heads=2, layers=2, text_dim=24, freq_dim=32)

# Wan's forms: of an image model's 36 channels 16 are the noisy latent's, 4 the mask's and 16 the given pictures'.
_I2V = dict(in_channels=36)
_TI2V = dict(in_channels=48, out_channels=48)  # the latent of Wan2.2's own VAE
_CLIP, _TRIAL_CLIP = 1280, 20
_TWO_IMAGES = 2 * 257

DITS: dict[str, DiTConfig] = {
    "wan2.1-t2v-1.3b": DiTConfig(**_1_3B),
    "wan2.1-t2v-14b": DiTConfig(**_14B),
    "wan2.1-i2v-14b": DiTConfig(**_14B, **_I2V, image_dim=_CLIP),
    "wan2.1-flf2v-14b": DiTConfig(**_14B, **_I2V, image_dim=_CLIP, image_positions=_TWO_IMAGES),
    "wan2.2-t2v-a14b": DiTConfig(**_14B),
    "wan2.2-i2v-a14b": DiTConfig(**_14B, **_I2V),
    "wan2.2-ti2v-5b": DiTConfig(**_5B, **_TI2V),
    "wan2.1-t2v-tiny": DiTConfig(**_TRIAL),
    "wan2.1-i2v-tiny": DiTConfig(**_TRIAL, **_I2V, image_dim=_TRIAL_CLIP),
    "wan2.1-flf2v-tiny": DiTConfig(**_TRIAL, **_I2V, image_dim=_TRIAL_CLIP, image_positions=_TWO_IMAGES),
    "wan2.2-t2v-tiny": DiTConfig(**_TRIAL),
    "wan2.2-i2v-tiny": DiTConfig(**_TRIAL, **_I2V),
    "wan2.2-ti2v-tiny": DiTConfig(**_TRIAL, **_TI2V),
    "tiny-step2": DiTConfig(in_channels=20, **_TINY),  # 16 of the latent, 4 of the memory's hints
    "tiny-flf2v": DiTConfig(in_channels=36, **_TINY),
    "tiny-t2v": DiTConfig(**_TINY),
    # Wan2.1's T2V 1.3B with the channels of an image model and without CLIP: no release has this form.
    "widened-flf2v-1.3b": DiTConfig(**_1_3B, **_I2V),
}
_VAE22 = dict(latent_channels=48, patch=2, residual=True, latent_mean=WAN22_LATENT_MEAN, latent_std=WAN22_LATENT_STD)
VAES: dict[str, VAEConfig] = {
    "wan2.1": VAEConfig(),
    "wan2.2": VAEConfig(base=160, decoder_base=256, **_VAE22),
    "wan2.1-tiny": VAEConfig(base=4, res_blocks=1),
    "wan2.2-tiny": VAEConfig(base=4, decoder_base=8, res_blocks=1, **_VAE22),
    # 2,538,435 parameters; few channels at full resolution pay on a CPU
    "tiny": VAEConfig(base=8, multipliers=(1, 4, 8, 8), res_blocks=1, temporal_init=0.2),
}
TEXT_ENCODERS: dict[str, UMT5Config] = {
    "umt5-xxl": UMT5Config(vocabulary=256384, dim=4096, attention_dim=4096, ffn_dim=10240, heads=64, layers=24),
    "tiny": UMT5Config(vocabulary=133, dim=128, attention_dim=128, ffn_dim=256, heads=4, layers=2, scan_layers=False),
}
CLIPS: dict[str, CLIPConfig] = {
    "xlm-roberta-large-vit-huge-14": CLIPConfig(
        dim=1280, ffn_dim=5120, heads=16, layers=32, projection=1024,
        text=CLIPTextConfig(vocabulary=250002, dim=1024, ffn_dim=4096, heads=16, layers=24),
    ),
    "tiny": CLIPConfig(  # its features are as wide as "wan2.1-i2v-tiny" reads them, and as many
        dim=_TRIAL_CLIP, ffn_dim=40, heads=2, layers=2, projection=12, scan_layers=False,
        text=CLIPTextConfig(vocabulary=133, dim=16, ffn_dim=32, heads=2, layers=2, positions=42, scan_layers=False),
    ),
}  # fmt: skip


def named(zoo: Mapping[str, Config], name: str) -> Config:
    """A size by its name; InputError names those that exist."""
    if name not in zoo:
        raise InputError(f"model: found {name!r}, expected one of {', '.join(zoo)}")
    return zoo[name]
