"""The sizes of a golden's model in our words: its config.json holds the arguments of the reference's constructor."""

from __future__ import annotations

import numpy as np

from stage_jax.evaluation.goldens import Golden
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae_config import VAEConfig


def dit_config(golden: Golden) -> DiTConfig:
    """Any Wan DiT; the weights tell of a CLIP branch."""
    model, norm, positions = golden.model, golden.weights.get("img_emb.proj.0.weight"), golden.weights.get("img_emb.emb_pos")
    return DiTConfig(
        dim=model["dim"],
        ffn_dim=model["ffn_dim"],
        heads=model["num_heads"],
        layers=model["num_layers"],
        in_channels=model["in_dim"],
        out_channels=model["out_dim"],
        text_dim=model["text_dim"],
        text_len=model["text_len"],
        freq_dim=model["freq_dim"],
        kernels=(tuple(model["patch_size"]),),
        image_dim=None if norm is None else len(norm),
        image_positions=None if positions is None else positions.shape[1],
    )


def vae_config(golden: Golden) -> VAEConfig:
    """Wan2.1's or Wan2.2's; the statistics of the latents are the golden's own."""
    model, newer = golden.model, golden.kind == "vae22"
    return VAEConfig(
        base=model["dim"],
        decoder_base=model["dec_dim"] if newer else None,
        multipliers=tuple(model["dim_mult"]),
        res_blocks=model["num_res_blocks"],
        latent_channels=model["z_dim"],
        temporal_down=tuple(model["temperal_downsample"]),
        latent_mean=_tuple(golden.io["latent_mean"]),
        latent_std=_tuple(golden.io["latent_std"]),
        patch=2 if newer else 1,
        residual=newer,
    )


def umt5_config(golden: Golden) -> UMT5Config:
    model = golden.model
    return UMT5Config(
        vocabulary=model["vocab"],
        dim=model["dim"],
        attention_dim=model["dim_attn"],
        ffn_dim=model["dim_ffn"],
        heads=model["num_heads"],
        layers=model["num_layers"],
        buckets=model["num_buckets"],
    )


def clip_config(golden: Golden) -> CLIPConfig:
    """The vision tower with its projection."""
    model = golden.model
    return CLIPConfig(
        dim=model["dim"],
        ffn_dim=model["dim"] * model["mlp_ratio"],
        heads=model["num_heads"],
        layers=model["num_layers"],
        picture=model["image_size"],
        patch=model["patch_size"],
        projection=model["out_dim"],
    )


def _tuple(array: np.ndarray) -> tuple[float, ...]:
    return tuple(array.tolist())
