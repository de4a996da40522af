"""Which of Wan's VAEs a checkpoint holds, told by its entries and their shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from stage_jax.errors import InputError
from stage_jax.models.vae_config import (
    WAN21_LATENT_MEAN,
    WAN21_LATENT_STD,
    WAN22_LATENT_MEAN,
    WAN22_LATENT_STD,
    VAEConfig,
)
from stage_jax.models.zoo import VAES
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.sizes import MOST_DIGITS, agree, in_zoo, numbers
from stage_jax.weights.table import Shape

# The published statistics of the latents, by the number of their channels.
STATISTICS = {
    len(mean): (mean, std)
    for mean, std in ((WAN21_LATENT_MEAN, WAN21_LATENT_STD), (WAN22_LATENT_MEAN, WAN22_LATENT_STD))
}
MOST_STAGES = 8  # our choice; Wan's have four
# The encoder's blocks and changes of size, by number or (Wan2.2) by two, in Wan's names and in diffusers'.
_STEP = re.compile(
    rf"encoder\.(?:downsamples|down_blocks)\.(\d{{1,{MOST_DIGITS}}})"
    rf"(?:\.(?:downsamples|resnets)\.(\d{{1,{MOST_DIGITS}}})|(\.downsampler))?"
    r"\.(?:(residual\.2|conv1)|resample\.1|(time_conv))\.weight"
)
_FIRST = ("encoder.conv1.weight", "encoder.conv_in.weight")
_LAST = ("conv2.weight", "post_quant_conv.weight")
_DECODER = ("decoder.conv1.weight", "decoder.conv_in.weight")


@dataclass
class _Stage:
    """Of the encoder. blocks: output channels of each."""

    blocks: list[int]
    temporal: bool = False


def vae_of(checkpoint: Checkpoint) -> tuple[str | None, VAEConfig]:
    """The name in the zoo, or None for other sizes, and the configuration. The statistics of the latents are as config.json
    says, else the published ones of so many channels. InputError where sizes are missing or contradict config.json, and
    where nothing tells the statistics."""
    base, inputs = _conv(checkpoint, _FIRST)[:2]
    channels = _conv(checkpoint, _LAST)[0]
    stages, nested = _stages(checkpoint)
    patch = math.isqrt(inputs // 3)
    multipliers = tuple(stage.blocks[0] // base for stage in stages)
    decoder_base = _conv(checkpoint, _DECODER)[0] // multipliers[-1] if multipliers[-1] else 0
    if 0 in multipliers or decoder_base == 0 or inputs != 3 * patch**2:
        sizes = f"{base} channels of {inputs} first, then {', '.join(str(stage.blocks[0]) for stage in stages)}"
        raise InputError(f"{checkpoint.where}: {sizes}, expected multiples of the first and 3 colours of a square")
    try:
        mean, std = _statistics(checkpoint, channels)
        config = VAEConfig(
            base=base,
            multipliers=multipliers,
            res_blocks=len(stages[0].blocks),
            latent_channels=channels,
            decoder_base=None if decoder_base == base else decoder_base,
            patch=patch,
            residual=nested,
            temporal_down=tuple(stage.temporal for stage in stages[:-1]),
            latent_mean=mean,
            latent_std=std,
        )
    except ValueError as error:
        raise InputError(f"{checkpoint.where}: {error}") from None
    sizes = vae_json(config)
    agree(checkpoint, {name: sizes[name] for name in sizes if name not in ("latents_mean", "latents_std")})
    return in_zoo(config, VAES, ("conv", "temporal_init"))


def vae_json(config: VAEConfig) -> dict[str, object]:
    """What diffusers' config.json of an AutoencoderKLWan says."""
    return {
        "base_dim": config.base,
        "decoder_base_dim": config.decoder_base,
        "z_dim": config.latent_channels,
        "dim_mult": list(config.multipliers),
        "num_res_blocks": config.res_blocks,
        "attn_scales": [],
        "temperal_downsample": list(config.temporal_down),  # sic
        "latents_mean": list(config.latent_mean),
        "latents_std": list(config.latent_std),
        "is_residual": config.residual,
        "in_channels": 3 * config.patch**2,
        "out_channels": 3 * config.patch**2,
        "patch_size": None if config.patch == 1 else config.patch,
        "scale_factor_temporal": config.temporal_stride,
        "scale_factor_spatial": config.spatial_stride,
    }


def _conv(checkpoint: Checkpoint, names: tuple[str, str]) -> Shape:
    shape = next((checkpoint.entries[name].shape for name in names if name in checkpoint.entries), None)
    if shape is None or len(shape) != 5 or 0 in shape:
        found = "is missing" if shape is None else f"is {list(shape)}, expected 5 axes"
        raise InputError(f"{checkpoint.where}: 1 entries do not fit: {names[0]} {found}")
    return shape


def _stages(checkpoint: Checkpoint) -> tuple[list[_Stage], bool]:
    """The stages of the encoder, each but the last closed by a change of size; and whether they are numbered by two."""
    steps: dict[tuple[int, float], dict[str, Shape]] = {}
    nested = False
    for name, shape in checkpoint.shapes.items():
        if step := _STEP.fullmatch(name):
            stage, block, after, conv, time = step.groups()
            nested = nested or block is not None or after is not None
            place = (int(stage), math.inf if after else int(block or 0))
            steps.setdefault(place, {})["conv" if conv else "time" if time else "resample"] = shape
    stages = [_Stage([])]
    for place in sorted(steps):
        found: Mapping[str, Shape] = steps[place]
        if "conv" in found:
            stages[-1].blocks.append(found["conv"][0])
        else:
            stages[-1].temporal = "time" in found
            stages.append(_Stage([]))
    if len(stages) > MOST_STAGES or not all(stage.blocks for stage in stages):
        raise InputError(f"{checkpoint.where}: its encoder is not made of stages of blocks, expected one of Wan's VAEs")
    return stages, nested


def _statistics(checkpoint: Checkpoint, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    said = [checkpoint.config.get(name) for name in ("latents_mean", "latents_std")]
    if said != [None, None]:
        mean, std = (numbers(value, f"latents_{name}", channels) for name, value in zip(("mean", "std"), said, strict=True))
        if min(std) <= 0:
            raise ValueError(f"latents_std: found {min(std)}, expected numbers above 0")
        return mean, std
    if channels not in STATISTICS:
        raise ValueError(f"nothing says mean and deviation of {channels} channels of latents; a config.json beside does")
    return STATISTICS[channels]
