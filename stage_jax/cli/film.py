"""`stage film STORY --out DIR`: the main job."""

from __future__ import annotations

import argparse
from pathlib import Path

from stage_jax.cli.arguments import finite, refuse, whole
from stage_jax.errors import InputError
from stage_jax.progress import Progress
from stage_jax.story.checks import MOST_SEED


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("film", help="a film and its storyboard from a story", description="Makes a film.")
    parser.add_argument("story", metavar="STORY", type=Path, help="a story.json or a Fountain screenplay (.fountain)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where everything goes")
    parser.add_argument("--model", metavar="DIR", type=Path, help="model folder (default: the tiny one shipped)")
    parser.add_argument("--step2", metavar="DIR", type=Path, help="model folder of the storyboard model, if another")
    parser.add_argument(
        "--pairs", metavar="DIR", type=Path, help="given frames SC01_SH010_start.png, _end.png instead of drawn ones"
    )
    parser.add_argument("--seed", metavar="N", type=whole(0, MOST_SEED), default=0, help="default: 0")
    parser.add_argument("--steps", metavar="N", type=whole(1, 1000), help="sampling steps (default: the model's)")
    parser.add_argument("--guidance", metavar="G", type=finite, help="weight of the caption in pairs (default: the model's)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    if args.pairs and args.guidance is not None:
        raise InputError("--guidance: found with --pairs, expected without: it leads the drawing of pairs")
    from stage_jax.film.make import make_film

    with Progress() as progress:
        make_film(
            args.story,
            args.out,
            progress,
            model=args.model,
            step2=args.step2,
            pairs=args.pairs,
            seed=args.seed,
            steps=args.steps,
            guidance=args.guidance,
        )
