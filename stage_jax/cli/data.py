"""`stage data toy` and `stage data ingest`: make what models are trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from stage_jax.cli.arguments import refuse, whole
from stage_jax.progress import Progress

MOST_STORIES = 10_000_000
LEVELS = ("easy",)


def add_parser(verbs: argparse._SubParsersAction) -> None:
    kinds = verbs.add_parser("data", help="make training data", description="Makes training data.").add_subparsers(
        title="kinds", metavar="KIND", required=True
    )
    _add_toy(kinds)
    _add_ingest(kinds)


def _add_toy(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser("toy", help="stories of the toy cinema", description="Draws toy stories into records.")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    for name, default in (("stories", 6000), ("validation", 100), ("test", 200)):
        of = "training" if name == "stories" else name
        parser.add_argument(
            f"--{name}", metavar="N", type=whole(0, MOST_STORIES), default=default, help=f"{of} stories ({default})"
        )
    parser.add_argument("--level", choices=LEVELS, default="easy", help="how rich the world is (easy)")
    parser.add_argument("--seed", metavar="N", type=whole(0, 2**31), default=0, help="of the first story (0)")
    parser.add_argument(
        "--clips", action=argparse.BooleanOptionalAction, default=True, help="whole clips too, not frames only"
    )
    parser.add_argument("--size", metavar="N", type=whole(16, 1024), default=64, help="side of the pictures (64)")
    parser.set_defaults(run=run_toy)


def _add_ingest(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "ingest", help="the shots of a film", description="Finds a film's shots; writes shots.jsonl and their frames."
    )
    parser.add_argument("film", metavar="FILM", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new folder, or an earlier ingest's")
    parser.set_defaults(run=run_ingest)


def run_toy(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from data_pipeline.records import write_toy_records
    from data_pipeline.toy_cinema.world import LEVELS

    counts = {"train": args.stories, "validation": args.validation, "test": args.test}
    with Progress() as progress:
        write_toy_records(
            args.out,
            {split: count for split, count in counts.items() if count},
            level=LEVELS[args.level],
            seed=args.seed,
            clips=args.clips,
            size=args.size,
            progress=lambda done, total: progress.step("stories", done, total),
        )


def run_ingest(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from data_pipeline.ingest import ingest

    with Progress() as progress:
        shots = ingest(args.film, args.out, lambda done, total: progress.step("frames", done, total))
    for shot in shots:
        taken = f"frames {shot.start_frame} and {shot.end_frame} taken" if shot.kept else shot.reason
        print(f"{shot.name}  {shot.first_frame}-{shot.last_frame}  {taken}")
