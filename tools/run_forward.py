"""Runs one forward pass of a model folder's DiT at full size: does it load, does it fit, how long does it take?

    python tools/run_forward.py out/wan2.1-t2v-1.3b
    python tools/run_forward.py out/wan2.1-t2v-1.3b --frames 81 --dtype bfloat16

The latent and the caption are random; a still of 480x832 is 1,560 tokens. Models with CLIP's image tokens get random ones.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from stage_jax.cli.arguments import whole
from stage_jax.errors import InputError
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.sequence import TokenSequence
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.weights.folder import open_part, part_config
from stage_jax.weights.stream import check_layers, load_params

PIXELS = 8  # of a latent cell's side; 16 with the VAE of Wan2.2's 5B
CLIP_TOKENS = 257


def random_sequence(config: DiTConfig, frames: int, height: int, width: int) -> TokenSequence:
    """A single target segment of random numbers, in the middle of the noise levels."""
    stride = _stride(config)
    keys = jax.random.split(jax.random.key(0), 3)
    shape = (1, config.in_channels, 1 + (frames - 1) // 4, height // stride, width // stride)
    caption = jax.random.normal(keys[1], (1, config.text_len, config.text_dim))
    sequence = t2v_sequence(jax.random.normal(keys[0], shape), jnp.full((1,), 500.0), caption)
    if config.image_dim is None:
        return sequence
    image = jax.random.normal(keys[2], (1, config.image_positions or CLIP_TOKENS, config.image_dim))
    return dataclasses.replace(sequence, image_tokens=image)


def _stride(config: DiTConfig) -> int:
    return PIXELS if config.out_channels == 16 else 2 * PIXELS


def run_forward(folder: Path, part: str, sequence_of: tuple[int, int, int], dtype: str | None) -> None:
    """Loads, compiles, runs twice; prints a line for each."""
    config = part_config(folder, part, DiTConfig)
    for name, pixels, cells in zip(("height", "width"), sequence_of[1:], config.kernels[0][1:], strict=True):
        if pixels % (multiple := _stride(config) * cells):
            raise InputError(f"--{name}: found {pixels}, expected a multiple of {multiple}")
    config = dataclasses.replace(config, scan_layers=True, dtype=dtype or config.dtype)
    checkpoint = open_part(folder, part)
    check_layers(checkpoint, config.layers)
    model = nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))
    began = time.monotonic()
    params = jax.block_until_ready(load_params(checkpoint, None, flat_params(model), dtype=dtype))
    print(f"loaded {sum(p.size for p in params.values()):,} parameters in {time.monotonic() - began:.1f} s", flush=True)
    sequence = random_sequence(config, *sequence_of)
    forward = jax.jit(lambda params, sequence: with_params(model, params)(sequence).outputs[0])
    for what in ("first forward pass, with its compilation", "second forward pass"):
        began = time.monotonic()
        velocity = jax.block_until_ready(forward(params, sequence))
        print(f"{what}: {sequence.segments[0].size:,} tokens in {time.monotonic() - began:.1f} s", flush=True)
    if not jnp.isfinite(velocity).all():
        raise InputError(f"{folder / part}: the velocity is not finite")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"velocity: mean {velocity.mean():.4f}, deviation {velocity.std():.4f}")
    print(f"peak memory {peak:.1f} GB, mapped files included")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="a model folder")
    parser.add_argument("--part", choices=("dit", "dit_low"), default="dit", help="default: dit")
    parser.add_argument("--frames", metavar="N", type=whole(1), default=1, help="of the clip (1, a still)")
    parser.add_argument("--height", metavar="N", type=whole(32), default=480, help="pixels (480)")
    parser.add_argument("--width", metavar="N", type=whole(32), default=832, help="pixels (832)")
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        help="of activations, and the parameters are cast to it too (default: those as the model says, these float32)",
    )
    args = parser.parse_args(argv)
    try:
        run_forward(args.model, args.part, (args.frames, args.height, args.width), args.dtype)
    except (InputError, OSError) as error:
        print(f"run_forward: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
