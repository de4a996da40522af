"""`stage export SRC DST --format ...`: a model folder as other programs read it."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stage_jax.cli.arguments import refuse
from stage_jax.cli.loras import add_loras, asked_loras
from stage_jax.errors import InputError
from stage_jax.progress import Progress

if TYPE_CHECKING:
    from stage_jax.models.dit import DiTConfig

FORMATS = ("original", "diffusers", "comfy", "kohya")
LORA_FORMATS = ("diffusers", "comfy", "kohya")
PREFIXES = ("model.diffusion_model.", "diffusion_model.")


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "export", help="a model folder for other programs", description="Writes a model folder's parts as torch weights."
    )
    parser.add_argument("source", metavar="SRC", type=Path, help="a model folder")
    parser.add_argument("destination", metavar="DST", type=Path, help="a new or empty folder; a .safetensors file with --lora")
    parser.add_argument("--format", choices=FORMATS, required=True, help="whose names and files")
    parser.add_argument("--prefix", choices=PREFIXES, help="before every name of a DiT, with --format comfy (default: none)")
    parser.add_argument("--lora", action="store_true", help="the LoRA alone, with --format diffusers, comfy or kohya")
    add_loras(parser, "--merge")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    if args.prefix and args.format != "comfy":
        raise InputError(f"--prefix: found with --format {args.format}, expected with --format comfy")
    merge = asked_loras(args.merge, args.merge_low)
    if args.lora:
        return _export_lora(args)
    if args.format == "kohya":
        raise InputError("--format: found kohya, which is for LoRAs alone, expected it with --lora")
    from stage_jax.weights.export import export

    began = time.monotonic()
    with Progress() as progress:
        done = export(
            args.source, args.destination, args.format,
            prefix=args.prefix or "", merge=merge, sampling=_sampling, step=progress.step,
        )  # fmt: skip
    sizes = f"{done.parameters:,} parameters in {done.entries:,} entries"
    print(f"{args.format}: {', '.join(done.parts)}, {sizes}, {time.monotonic() - began:.1f} s")
    if done.left_out:
        print(f"left out, since the format {args.format} has no place for it: {', '.join(done.left_out)}")


def _export_lora(args: argparse.Namespace) -> None:
    if args.format not in LORA_FORMATS:
        raise InputError(f"--format: found {args.format}, expected one of {', '.join(LORA_FORMATS)} with --lora")
    if args.merge or args.merge_low:
        raise InputError("--merge: found with --lora, expected one of them")
    from stage_jax.weights.lora_folder import read_loras
    from stage_jax.weights.lora_write import write_lora_files

    loras = read_loras(args.source)
    for path in write_lora_files(args.destination, loras, args.format):
        print(f"{path}: a LoRA of {sum(len(lora.alphas) for lora in loras.values())} linears, for {args.format}")


def _sampling(config: DiTConfig, experts: int) -> dict[str, Any]:
    """How Wan's released model of this form is sampled."""
    from stage_jax.recipes.tasks import released_like
    from stage_jax.sampling.defaults import DEFAULTS

    return dataclasses.asdict(DEFAULTS[released_like(config, experts)])
