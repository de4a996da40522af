"""Named sizes of every model. The tiny ones are trained on the toy cinema and shipped."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae import VAEConfig

Config = TypeVar("Config")

# Unrolled, because XLA on the CPU differentiates a list of layers faster than a scanned stack; gates start at 1.
_TINY = dict(dim=128, ffn_dim=512, heads=4, layers=6, text_dim=128, text_len=40, freq_dim=128,
             scan_layers=False, gate_init=1.0)  # fmt: skip

DITS: dict[str, DiTConfig] = {
    "wan2.1-t2v-1.3b": DiTConfig(dim=1536, ffn_dim=8960, heads=12, layers=30),
    "tiny-step2": DiTConfig(in_channels=20, **_TINY),  # 16 of the latent, 4 of the memory's hints
    "tiny-flf2v": DiTConfig(in_channels=36, **_TINY),
}
VAES: dict[str, VAEConfig] = {
    "wan2.1": VAEConfig(),
    # 2,538,435 parameters; few channels at full resolution pay on a CPU
    "tiny": VAEConfig(base=8, multipliers=(1, 4, 8, 8), res_blocks=1, temporal_init=0.2),
}
TEXT_ENCODERS: dict[str, UMT5Config] = {
    "umt5-xxl": UMT5Config(vocabulary=256384, dim=4096, attention_dim=4096, ffn_dim=10240, heads=64, layers=24),
    "tiny": UMT5Config(
        vocabulary=133, dim=128, attention_dim=128, ffn_dim=256, heads=4, layers=2, scan_layers=False
    ),
}


def named(zoo: Mapping[str, Config], name: str) -> Config:
    """A size by its name; InputError names those that exist."""
    if name not in zoo:
        raise InputError(f"model: found {name!r}, expected one of {', '.join(zoo)}")
    return zoo[name]
