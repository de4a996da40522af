"""The Wan2.1 VAE's names in Wan's own checkpoints and ours. Parameter names as in the public Wan2.1 code.

Blocks and resampling share one running number there, so the table depends on the VAE's sizes.
"""

from __future__ import annotations

from stage_jax.models.vae import VAEConfig
from stage_jax.weights.table import LINEAR, Entry, Table

CONV3D = (2, 3, 4, 1, 0)  # [out, in, t, y, x] -> [t, y, x, in, out]
CONV2D = (2, 3, 1, 0)


def vae_table(config: VAEConfig) -> Table:
    """Table of `weights.table` for a Wan2.1 VAE of any sizes; covers the statistics of the latents by neither name."""
    return (
        *_coder("encoder", "downsamples", config.res_blocks, config.temporal_down),
        *_coder("decoder", "upsamples", config.res_blocks + 1, config.temporal_down[::-1]),
        *_conv("conv1", "quant"),
        *_conv("conv2", "post_quant"),
    )


def _coder(coder: str, stages: str, blocks: int, temporal: tuple[bool, ...]) -> Table:
    """Encoder or decoder; `temporal` has an entry for every change of size, one less than there are stages."""
    entries = [
        *_conv(f"{coder}.conv1", f"{coder}.conv_in"),
        *_block(f"{coder}.middle.0", f"{coder}.middle.block1"),
        *_attention(f"{coder}.middle.1", f"{coder}.middle.attention"),
        *_block(f"{coder}.middle.2", f"{coder}.middle.block2"),
        Entry(f"{coder}.head.0.gamma", f"{coder}.norm_out.gamma", ones=3),
        *_conv(f"{coder}.head.2", f"{coder}.conv_out"),
    ]
    for stage in range(len(temporal) + 1):
        first, ours = stage * (blocks + 1), f"{coder}.stages.{stage}"
        for block in range(blocks):
            entries += _block(f"{coder}.{stages}.{first + block}", f"{ours}.blocks.{block}")
        if stage < len(temporal):
            theirs = f"{coder}.{stages}.{first + blocks}"
            entries += _conv(f"{theirs}.resample.1", f"{ours}.resample.conv", CONV2D)
            if temporal[stage]:
                entries += _conv(f"{theirs}.time_conv", f"{ours}.resample.time_conv")
    return tuple(entries)


def _block(torch: str, ours: str) -> Table:
    """A residual block; the shortcut stands in the state dict only where the block changes the channels."""
    return (
        Entry(f"{torch}.residual.0.gamma", f"{ours}.norm1.gamma", ones=3),
        *_conv(f"{torch}.residual.2", f"{ours}.conv1"),
        Entry(f"{torch}.residual.3.gamma", f"{ours}.norm2.gamma", ones=3),
        *_conv(f"{torch}.residual.6", f"{ours}.conv2"),
        *_conv(f"{torch}.shortcut", f"{ours}.shortcut"),
    )


def _attention(torch: str, ours: str) -> Table:
    """1x1 convolutions there, linear layers here."""
    return (
        Entry(f"{torch}.norm.gamma", f"{ours}.norm.gamma", ones=2),
        Entry(f"{torch}.to_qkv.weight", f"{ours}.qkv.kernel", LINEAR, ones=2),
        Entry(f"{torch}.to_qkv.bias", f"{ours}.qkv.bias"),
        Entry(f"{torch}.proj.weight", f"{ours}.out.kernel", LINEAR, ones=2),
        Entry(f"{torch}.proj.bias", f"{ours}.out.bias"),
    )


def _conv(torch: str, ours: str, permutation: tuple[int, ...] = CONV3D) -> Table:
    return (Entry(f"{torch}.weight", f"{ours}.kernel", permutation), Entry(f"{torch}.bias", f"{ours}.bias"))
