"""`stage film STORY --out DIR`: the main job."""

from __future__ import annotations

import argparse
import functools
from pathlib import Path
from typing import TYPE_CHECKING

from stage_jax.cli.arguments import finite, refuse, whole
from stage_jax.cli.direct import endpoint
from stage_jax.errors import InputError
from stage_jax.progress import Progress
from stage_jax.story.checks import MOST_SEED

if TYPE_CHECKING:
    from stage_jax.story.refiner import Refine


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
    parser.add_argument(
        "--refine", metavar="HOW", help="write clip prompts from the pairs: `rules`, or the URL of a vision model's endpoint"
    )
    parser.add_argument("--llm", metavar="NAME", default="", help="the model's name at the endpoint")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    if args.pairs and args.guidance is not None:
        raise InputError("--guidance: found with --pairs, expected without: it leads the drawing of pairs")
    if args.llm and args.refine in (None, "rules"):
        raise InputError("--llm: found without an endpoint, expected with --refine URL")
    refine = None if args.refine is None else refiner(args.refine, args.llm)
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
            refine=refine,
        )


def refiner(how: str, llm: str) -> Refine:
    """By rules, or by the model called `llm` at the endpoint `how`."""
    from stage_jax.story.refiner import refine_by_model, refine_by_rules

    if how == "rules":
        return refine_by_rules
    return functools.partial(refine_by_model, endpoint=endpoint(how, llm))
