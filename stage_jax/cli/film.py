"""`stage film STORY --out DIR`: the main job."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

from stage_jax.cli.arguments import finite, refuse, whole
from stage_jax.cli.choices import add_choices, choices
from stage_jax.cli.direct import add_endpoint, endpoint
from stage_jax.errors import InputError
from stage_jax.progress import Progress
from stage_jax.story.board import BoardShot
from stage_jax.story.checks import MOST_SEED


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("film", help="a film and its storyboard from a story", description="Makes a film.")
    parser.add_argument("story", metavar="STORY", type=Path, help="a story.json or a Fountain screenplay (.fountain)")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="where everything goes")
    parser.add_argument("--model", metavar="DIR", type=Path, help="model folder, Wan's own or diffusers' (default: tiny)")
    parser.add_argument("--step2", metavar="DIR", type=Path, help="model folder of the storyboard model, if another")
    parser.add_argument(
        "--pairs", metavar="DIR", type=Path, help="given frames SC01_SH010_start.png, _end.png instead of drawn ones"
    )
    parser.add_argument("--seed", metavar="N", type=whole(0, MOST_SEED), default=0, help="default: 0")
    parser.add_argument("--steps", metavar="N", type=whole(1, 1000), help="sampling steps (default: the model's)")
    parser.add_argument("--guidance", metavar="G", type=finite, help="weight of the caption in pairs (default: the model's)")
    parser.add_argument(
        "--landing", metavar="N", type=whole(0, 1000), help="steps that bring each clip's end to its end frame (the model's)"
    )
    add_choices(parser)
    add_endpoint(parser, "--refine", "write clip prompts from the pairs: `rules`, or a vision model's endpoint", "--llm")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    if args.pairs and args.guidance is not None:
        raise InputError("--guidance: found with --pairs, expected without: it leads the drawing of pairs")
    if args.pairs and (args.only or args.take or args.candidates > 1):
        raise InputError("--only, --take, --candidates: found with --pairs, expected without: they lead the drawing of pairs")
    refine = refiner(args.refine, args.llm, args.key_env)
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
            landing=args.landing,
            refine=refine,
            choices=choices(args),
        )


def refiner(how: str, name: str, key_env: str) -> Callable[[BoardShot], str] | None:
    """By rules, by the model called `name` at the endpoint `how`, or not at all."""
    if how in ("", "rules"):
        if name or key_env:
            raise InputError("--llm, --key-env: found without an endpoint, expected with --refine URL")
        from stage_jax.story.refiner import refine_by_rules

        return refine_by_rules if how else None
    model = endpoint(how, name, key_env, "--llm")
    from stage_jax.film.by_model import refine_by_model

    return functools.partial(refine_by_model, model=model)
