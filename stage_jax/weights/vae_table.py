"""The names of Wan's VAEs in Wan's own checkpoints, in diffusers' and here. As in the public Wan2.1, Wan2.2 and diffusers code.

In Wan2.1 blocks and resampling share one running number, so the table depends on the VAE's sizes.
"""

from __future__ import annotations

from stage_jax.models.vae_config import VAEConfig
from stage_jax.weights.table import LINEAR, Entry, Table

CONV3D = (2, 3, 4, 1, 0)  # [out, in, t, y, x] -> [t, y, x, in, out]
CONV2D = (2, 3, 1, 0)


def vae_table(config: VAEConfig) -> Table:
    """Table of `weights.table` for a VAE of any sizes; covers the statistics of the latents by neither name."""
    return (
        *_coder("encoder", config),
        *_coder("decoder", config),
        *_conv("conv1", "quant", "quant_conv"),
        *_conv("conv2", "post_quant", "post_quant_conv"),
    )


def _coder(coder: str, config: VAEConfig) -> Table:
    decode = coder == "decoder"
    temporal = config.temporal_down[::-1] if decode else config.temporal_down
    blocks = config.res_blocks + decode
    entries = [
        *_conv(f"{coder}.conv1", f"{coder}.conv_in", f"{coder}.conv_in"),
        *_block(f"{coder}.middle.0", f"{coder}.middle.block1", f"{coder}.mid_block.resnets.0"),
        *_attention(f"{coder}.middle.1", f"{coder}.middle.attention", f"{coder}.mid_block.attentions.0"),
        *_block(f"{coder}.middle.2", f"{coder}.middle.block2", f"{coder}.mid_block.resnets.1"),
        Entry(f"{coder}.head.0.gamma", f"{coder}.norm_out.gamma", ones=3, diffusers=f"{coder}.norm_out.gamma"),
        *_conv(f"{coder}.head.2", f"{coder}.conv_out", f"{coder}.conv_out"),
    ]
    for stage in range(len(temporal) + 1):
        ours = f"{coder}.stages.{stage}"
        for block in range(blocks):
            torch, there = _torch(coder, config, stage, block), _there(coder, config, stage, block)
            entries += _block(torch, f"{ours}.blocks.{block}", there)
        if stage < len(temporal):  # the last stage keeps its size
            torch, there = _torch(coder, config, stage, blocks), _there(coder, config, stage, None)
            entries += _conv(f"{torch}.resample.1", f"{ours}.resample.conv", f"{there}.resample.1", CONV2D)
            if temporal[stage]:
                entries += _conv(f"{torch}.time_conv", f"{ours}.resample.time_conv", f"{there}.time_conv")
    return tuple(entries)


def _torch(coder: str, config: VAEConfig, stage: int, place: int) -> str:
    """A block of a stage, or after the blocks its change of size, in the original."""
    stages = "upsamples" if coder == "decoder" else "downsamples"
    if config.residual:
        return f"{coder}.{stages}.{stage}.{stages}.{place}"
    return f"{coder}.{stages}.{_running(coder, config, stage) + place}"


def _there(coder: str, config: VAEConfig, stage: int, block: int | None) -> str:
    """The same in diffusers; None is the change of size. Wan2.1's encoder keeps the running number there."""
    side = "up" if coder == "decoder" else "down"
    if side == "down" and not config.residual:
        place = config.res_blocks if block is None else block
        return f"{coder}.down_blocks.{_running(coder, config, stage) + place}"
    change = f"{side}sampler" if config.residual else f"{side}samplers.0"
    return f"{coder}.{side}_blocks.{stage}.{change if block is None else f'resnets.{block}'}"


def _running(coder: str, config: VAEConfig, stage: int) -> int:
    """The number of a stage's first block: blocks and changes of size are counted together."""
    return stage * (config.res_blocks + (coder == "decoder") + 1)


def _block(torch: str, ours: str, there: str) -> Table:
    """A residual block; the shortcut stands in the state dict only where the block changes the channels."""
    return (
        Entry(f"{torch}.residual.0.gamma", f"{ours}.norm1.gamma", ones=3, diffusers=f"{there}.norm1.gamma"),
        *_conv(f"{torch}.residual.2", f"{ours}.conv1", f"{there}.conv1"),
        Entry(f"{torch}.residual.3.gamma", f"{ours}.norm2.gamma", ones=3, diffusers=f"{there}.norm2.gamma"),
        *_conv(f"{torch}.residual.6", f"{ours}.conv2", f"{there}.conv2"),
        *_conv(f"{torch}.shortcut", f"{ours}.shortcut", f"{there}.conv_shortcut"),
    )


def _attention(torch: str, ours: str, there: str) -> Table:
    """1x1 convolutions there, linear layers here."""

    def entry(name: str, path: str, **how) -> Entry:
        return Entry(f"{torch}.{name}", f"{ours}.{path}", diffusers=f"{there}.{name}", **how)

    return (
        entry("norm.gamma", "norm.gamma", ones=2),
        entry("to_qkv.weight", "qkv.kernel", permutation=LINEAR, ones=2),
        entry("to_qkv.bias", "qkv.bias"),
        entry("proj.weight", "out.kernel", permutation=LINEAR, ones=2),
        entry("proj.bias", "out.bias"),
    )


def _conv(torch: str, ours: str, there: str, permutation: tuple[int, ...] = CONV3D) -> Table:
    return (
        Entry(f"{torch}.weight", f"{ours}.kernel", permutation, diffusers=f"{there}.weight"),
        Entry(f"{torch}.bias", f"{ours}.bias", diffusers=f"{there}.bias"),
    )
