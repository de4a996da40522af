"""`stage board STORY... --out DIR`: storyboards alone."""

from __future__ import annotations

import argparse
from pathlib import Path

from stage_jax.cli.arguments import finite, part, refuse, whole
from stage_jax.cli.choices import add_choices, choices
from stage_jax.progress import Progress
from stage_jax.story.checks import MOST_SEED


def add_parser(verbs: argparse._SubParsersAction) -> None:
    parser = verbs.add_parser("board", help="storyboards from stories, no clips", description="Draws all pairs of stories.")
    parser.add_argument("stories", metavar="STORY", type=Path, nargs="+", help="a story.json or a Fountain screenplay")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="the board; of several, a folder for each")
    parser.add_argument("--model", metavar="DIR", type=Path, help="model folder, Wan's own or diffusers' (default: tiny)")
    parser.add_argument("--step2", metavar="DIR", type=Path, help="model folder of the storyboard model, if another")
    parser.add_argument("--seed", metavar="N", type=whole(0, MOST_SEED), default=0, help="default: 0")
    parser.add_argument("--steps", metavar="N", type=whole(1, 1000), help="sampling steps (default: the model's)")
    parser.add_argument("--guidance", metavar="G", type=finite, help="weight of the caption (default: the model's)")
    parser.add_argument("--pairs", metavar="DIR", type=Path, help="given frames SC01_SH010_start.png, _end.png: any of them")
    add_choices(parser)
    parser.add_argument(
        "--share", metavar="K/N", type=part, default=(0, 1), help="only the stories K, K+N, K+2N, ...: of process K of N"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from stage_jax.film.make_boards import make_boards

    with Progress() as progress:
        make_boards(
            args.stories,
            args.out,
            progress,
            model=args.model,
            step2=args.step2,
            seed=args.seed,
            steps=args.steps,
            guidance=args.guidance,
            choices=choices(args, args.pairs),
            share=args.share,
        )
