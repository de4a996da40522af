"""diffusers' own models, of the sizes of ours."""

from __future__ import annotations

import pytest

from stage_jax.models.dit import DiTConfig
from stage_jax.models.vae_config import VAEConfig

diffusers = pytest.importorskip("diffusers")


def wan_transformer(config: DiTConfig) -> diffusers.WanTransformer3DModel:
    return diffusers.WanTransformer3DModel(
        num_attention_heads=config.heads,
        attention_head_dim=config.dim // config.heads,
        in_channels=config.in_channels,
        out_channels=config.out_channels,
        text_dim=config.text_dim,
        freq_dim=config.freq_dim,
        ffn_dim=config.ffn_dim,
        num_layers=config.layers,
        image_dim=config.image_dim,
        added_kv_proj_dim=None if config.image_dim is None else config.dim,
        pos_embed_seq_len=config.image_positions,
    )


def wan_autoencoder(config: VAEConfig) -> diffusers.AutoencoderKLWan:
    colours = 3 * config.patch**2
    return diffusers.AutoencoderKLWan(
        base_dim=config.base,
        decoder_base_dim=config.decoder_base,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.res_blocks,
        temperal_downsample=list(config.temporal_down),
        latents_mean=list(config.latent_mean),
        latents_std=list(config.latent_std),
        is_residual=config.residual,
        in_channels=colours,
        out_channels=colours,
        patch_size=config.patch if config.patch > 1 else None,
        scale_factor_spatial=config.spatial_stride,
    )
