"""`stage convert SRC DST`: torch weights into a model folder."""

from __future__ import annotations

import argparse
import dataclasses
import time
from pathlib import Path
from typing import Any

from stage_jax.cli.arguments import refuse, whole
from stage_jax.errors import InputError
from stage_jax.progress import Progress


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser(
        "convert",
        help="torch weights into a model folder",
        description="Makes a model folder of a Wan pipeline: DiT, VAE, umT5, CLIP, tokenizer, as many as there are.",
    )
    parser.add_argument(
        "source", metavar="SRC", type=Path, help="Wan's folder, diffusers', a part of them, a .safetensors or .pth file, a LoRA"
    )
    parser.add_argument(
        "destination", metavar="DST", type=Path, help="a new or empty folder; for a LoRA also a model folder without one"
    )
    parser.add_argument("--low", metavar="SRC", type=Path, help="the expert for low noise, where it is a file of its own")
    parser.add_argument(
        "--dtype", choices=("float32", "bfloat16", "float16"), help="of all weights (default: each keeps its own)"
    )
    parser.add_argument("--heads", metavar="N", type=whole(1, 1024), help="of the DiT, if nothing else tells")
    parser.add_argument("--licence", metavar="NAME", default="unknown", help="of the weights, noted in model.json")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from stage_jax.weights.convert import convert
    from stage_jax.weights.lora_file import holds_lora

    if holds_lora(args.source):
        return _convert_lora(args)
    began = time.monotonic()
    with Progress() as progress:
        done = convert(
            args.source,
            args.destination,
            low=args.low,
            dtype=args.dtype,
            heads=args.heads,
            licence=args.licence,
            sampling=_sampling,
            step=progress.step,
        )
    dit = done.parts[0] == "dit"
    sizes = f"a DiT of {done.config.layers} layers and {done.config.dim} channels" if dit else "sizes of their own"
    family = done.model or sizes
    if not done.whole:
        family = f"one of the two experts of {family}"
    if other := done.maybe_expert_of:
        noted = f"the sampling of {done.model} is noted" if _sampling(done.model) else "no sampling is noted"
        print(f"these shapes are those of {done.model} and of one expert of {other}; {noted}")
    sizes = f"{done.parameters:,} parameters in {done.entries:,} entries"
    print(f"{family}: {', '.join(done.parts)}, {sizes}, {time.monotonic() - began:.1f} s")


def _convert_lora(args: argparse.Namespace) -> None:
    for flag in ("dtype", "heads"):
        if getattr(args, flag) is not None:
            raise InputError(f"--{flag}: found with a LoRA, {args.source}, which is converted as it is")
    from stage_jax.weights.lora_folder import PARTS, convert_lora

    for expert, lora in convert_lora(args.source, args.destination, low=args.low, licence=args.licence).items():
        ranks = sorted({lora.rank(path) for path in lora.alphas})
        sizes = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {ranks[0]} to {ranks[-1]}"
        print(f"{args.destination}: {PARTS[expert]}, a LoRA of {len(lora.alphas)} linears, {sizes}")


def _sampling(model: str) -> dict[str, Any] | None:
    """How Wan's released models are sampled."""
    from stage_jax.sampling.defaults import DEFAULTS

    return dataclasses.asdict(DEFAULTS[model]) if model in DEFAULTS else None
