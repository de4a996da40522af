"""Where the formats of other programs keep each part: folders, files, names, and what config.json says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import DITS
from stage_jax.weights.clip_detect import clip_json, heads_of_width
from stage_jax.weights.detect import model_type, released_heads
from stage_jax.weights.layout import DIFFUSERS
from stage_jax.weights.places import EXPERTS, STEM
from stage_jax.weights.table import Naming, shown
from stage_jax.weights.umt5_detect import umt5_json
from stage_jax.weights.vae_detect import STATISTICS, vae_json

Format = Literal["original", "diffusers", "comfy"]
# Names of files that are known for what is in them.
_VAES = {False: ("Wan2.1_VAE", "wan_2.1_vae"), True: ("Wan2.2_VAE", "wan2.2_vae")}  # residual: original, ComfyUI
_UMT5 = ("models_t5_umt5-xxl-enc-bf16", "umt5_xxl")
_CLIP = ("models_clip_open-clip-xlm-roberta-large-vit-huge-14", "clip_vision_h")
# Fields that a reader of the format does not learn, and takes to be as in the published models.
_LOST = {
    "dit": {"original": ("theta",), "diffusers": ("theta", "text_len"), "comfy": ("theta", "text_len", "eps", "heads")},
    "vae": {"original": ("latent_mean", "latent_std"), "diffusers": (), "comfy": ("latent_mean", "latent_std")},
    "umt5": {"original": ("max_distance", "eps"), "diffusers": (), "comfy": ("max_distance", "eps")},
    "clip": {"original": ("heads", "eps"), "diffusers": (), "comfy": ("heads", "eps")},
}


@dataclass(frozen=True)
class Spot:
    """Of a part. folder: "" for none. stem: of its file or files. naming: of the entries. config: for config.json, if it has
    one; large models are in shards then."""

    folder: str
    stem: str
    naming: Naming
    config: Mapping[str, Any] | None = None


def spots(form: Format, configs: Mapping[str, Any], model: Any) -> dict[str, Spot]:
    """Of every part. model: what model.json calls the DiT, if anything."""
    two = "dit_low" in configs
    found = {}
    for part, config in configs.items():
        if part in ("dit", "dit_low"):
            found[part] = _dit_spot(form, config, part == "dit_low", two, model if model in DITS else "wan-dit")
        elif form == "diffusers":
            said = {"vae": _vae_config, "umt5": umt5_config, "clip": clip_config}[part](config)
            found[part] = Spot(DIFFUSERS[part], STEM if part == "vae" else "model", "diffusers", said)
        else:
            original, comfy = {"vae": _VAES[getattr(config, "residual", False)], "umt5": _UMT5, "clip": _CLIP}[part]
            stem = original if form == "original" else comfy
            # ComfyUI reads the encoders in transformers' names, Wan's VAEs in their own.
            found[part] = Spot("", stem, "original" if form == "original" or part == "vae" else "diffusers")
    return found


def sayable(where: Path, form: Format, part: str, config: Any) -> Any:
    """The configuration of what is written: without CLIP's text tower, for which only Wan's own names exist. InputError for
    what a reader of this form would not learn, and would take to be as in Wan's models."""
    kind = "dit" if part == "dit_low" else part
    for name in _LOST[kind][form]:
        found, usual = getattr(config, name), _usual(config, name)
        if found != usual:
            expected = "that of a published model" if usual is None else shown(usual)
            raise InputError(
                f"{where}: {name}: found {shown(found)}, expected {expected}, since the format {form} cannot say another"
            )
    return replace(config, text=None) if kind == "clip" and form != "original" else config


def _usual(config: Any, name: str) -> Any:
    if name == "heads" and isinstance(config, DiTConfig):
        return released_heads(config.dim) or config.heads  # at other widths a reader has to be told
    if name == "heads":
        return heads_of_width(config.dim)
    if name in ("latent_mean", "latent_std"):
        return STATISTICS.get(config.latent_channels, (None, None))[name == "latent_std"]
    return getattr(type(config), name)


def _dit_spot(form: Format, config: DiTConfig, low: bool, two: bool, stem: str) -> Spot:
    if form == "comfy":
        return Spot("", stem + (("-low-noise" if low else "-high-noise") if two else ""), "original")
    if form == "diffusers":
        return Spot(EXPERTS[form][low], STEM, "diffusers", diffusers_config(config))
    return Spot(EXPERTS[form][low] if two else "", STEM, "original", original_config(config))


def original_config(config: DiTConfig) -> dict[str, Any]:
    """The fields of Wan's own config.json."""
    return {
        "_class_name": "WanModel",
        "model_type": model_type(config),
        "dim": config.dim,
        "eps": config.eps,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": config.in_channels,
        "num_heads": config.heads,
        "num_layers": config.layers,
        "out_dim": config.out_channels,
        "text_len": config.text_len,
    }


def diffusers_config(config: DiTConfig) -> dict[str, Any]:
    """The fields of diffusers' config.json of a WanTransformer3DModel."""
    return {
        "_class_name": "WanTransformer3DModel",
        "patch_size": list(config.kernels[0]),
        "num_attention_heads": config.heads,
        "attention_head_dim": config.dim // config.heads,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "text_dim": config.text_dim,
        "freq_dim": config.freq_dim,
        "ffn_dim": config.ffn_dim,
        "num_layers": config.layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": config.eps,
        "image_dim": config.image_dim,
        "added_kv_proj_dim": None if config.image_dim is None else config.dim,
        "rope_max_seq_len": 1024,
        "pos_embed_seq_len": config.image_positions,
    }


def _vae_config(config: VAEConfig) -> dict[str, Any]:
    return {"_class_name": "AutoencoderKLWan", "dropout": 0.0} | vae_json(config)


def umt5_config(config: UMT5Config) -> dict[str, Any]:
    """The fields of transformers' config.json of a UMT5EncoderModel."""
    return {
        "architectures": ["UMT5EncoderModel"],
        "model_type": "umt5",
        "feed_forward_proj": "gated-gelu",
        "dense_act_fn": "gelu_new",
        "is_gated_act": True,
        "dropout_rate": 0.0,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    } | umt5_json(config)


def clip_config(config: CLIPConfig) -> dict[str, Any]:
    """The fields of transformers' config.json of a CLIPVisionModel."""
    name = "CLIPVisionModel" if config.projection is None else "CLIPVisionModelWithProjection"
    projection = {} if config.projection is None else {"projection_dim": config.projection}
    said = {"architectures": [name], "model_type": "clip_vision_model", "hidden_act": "gelu", "num_channels": 3}
    return said | projection | clip_json(config)
