"""`stage data toy`, `ingest`, `annotate`, `records`, `beam` and `show`: make what models are trained on, and look at it."""

from __future__ import annotations

import argparse
from pathlib import Path

from stage_jax.cli import data_annotate, data_beam, data_clips
from stage_jax.cli.arguments import refuse, share, size, whole
from stage_jax.progress import Progress

MOST_STORIES = 10_000_000
LEVELS = ("easy", "full")


def add_parser(verbs: argparse._SubParsersAction) -> None:
    kinds = verbs.add_parser("data", help="make training data, look at it", description="Training data.").add_subparsers(
        title="kinds", metavar="KIND", required=True
    )
    _add_toy(kinds)
    _add_ingest(kinds)
    data_annotate.add_parser(kinds)
    _add_records(kinds)
    data_beam.add_parser(kinds)
    _add_show(kinds)


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
        "ingest",
        help="the shots of films",
        description="Finds the shots of films; writes shots.jsonl and their frames. Run again, it does the films left.",
    )
    parser.add_argument("films", metavar="FILM", type=Path, nargs="+")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, required=True,
        help="a new folder, or an earlier ingest's; of several films each gets a folder of its name in it",
    )  # fmt: skip
    parser.add_argument("--transnet", metavar="FILE", type=Path, help="weights of TransNet V2, which then finds the cuts")
    parser.set_defaults(run=run_ingest)


def _add_records(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "records", help="records of stories from outside", description="Writes stories and pictures from outside as records."
    )
    parser.add_argument("kind", choices=("film_folder", "constoryboard", "constoryboard_hp"), help="what the folder holds")
    parser.add_argument("source", metavar="DIR", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder")
    parser.add_argument(
        "--size", metavar="HxW", type=size, action="append", required=True,
        help="height and width of the pictures; given more than once, each story gets the nearest, in a folder of its own",
    )  # fmt: skip
    parser.add_argument("--validation", metavar="SHARE", type=share, default=0.0, help="of the stories, held out (0)")
    data_clips.add_clips(parser)
    parser.set_defaults(run=run_records)


def run_records(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from data_pipeline.constoryboard import ANNOTATIONS, constoryboard_sources, open_constoryboard
    from data_pipeline.film_folder import film_sources
    from data_pipeline.outside import write_sources
    from stage_jax.story.tables import listed_once

    with Progress() as progress:
        if args.kind == "film_folder":
            films = film_sources(args.source, data_clips.form_of(args))
            sources, about = films.sources, data_clips.about(args, films)
            if films.short:
                progress.say(data_clips.left_out(films))
        else:
            data_clips.refuse_clips(args)
            board = open_constoryboard(args.source)
            if board.unknown:
                progress.say(f"{args.source / ANNOTATIONS}: keys that are not read: {listed_once(board.unknown)}")
            about = {"made_by": args.kind}
            sources = constoryboard_sources(board, preferences=args.kind == "constoryboard_hp")
        write_sources(
            sources,
            args.out,
            args.size,
            about=about,
            validation=args.validation,
            progress=lambda done, total: progress.step("stories", done, total),
        )


def _add_show(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser("show", help="a page of records", description="Writes records as one HTML page.")
    parser.add_argument("records", metavar="DIR", type=Path, help="a folder of records")
    parser.add_argument("--out", metavar="FILE", type=Path, help="the page (DIR/records.html)")
    parser.add_argument("--stories", metavar="N", type=whole(0, 1000), default=6, help="shown of each split (6)")
    parser.add_argument("--count", metavar="N", type=whole(1, MOST_STORIES), default=1000, help="in the statistics (1000)")
    parser.set_defaults(run=run_show)


def run_toy(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from data_pipeline.toy_records import write_toy_records

    counts = {"train": args.stories, "validation": args.validation, "test": args.test}
    with Progress() as progress:
        write_toy_records(
            args.out,
            {split: count for split, count in counts.items() if count},
            args.level,
            seed=args.seed,
            clips=args.clips,
            size=args.size,
            progress=lambda done, total: progress.step("stories", done, total),
        )


def run_ingest(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from data_pipeline.ingest.films import Failed, ingest_films
    from data_pipeline.ingest.shots import FilmShots
    from stage_jax.errors import InputError

    with Progress() as progress:

        def told(result: FilmShots | Failed) -> None:
            progress.say(result.reason if isinstance(result, Failed) else f"{result.folder}: {len(result.kept)} shots kept")

        results = ingest_films(args.films, args.out, progress.step, told, args.transnet)
    for result in results:
        for shot in () if isinstance(result, Failed) else result.shots:
            taken = f"frames {shot.start_frame} and {shot.end_frame} taken" if shot.kept else shot.reason
            film = f"{result.folder.name}  " if len(results) > 1 else ""
            print(f"{film}{shot.name}  {shot.first_frame}-{shot.last_frame}  {taken}")
    failed = [str(result.film) for result in results if isinstance(result, Failed)]
    if failed:
        raise InputError(f"{len(failed)} of {len(results)} films were passed over: {', '.join(failed)}")


def run_show(args: argparse.Namespace, unknown: list[str]) -> None:
    refuse(unknown)
    from data_pipeline.records import open_splits
    from stage_jax.files import write_bytes
    from stage_jax.film.data_page import data_page

    out = args.out or args.records / "records.html"
    page = data_page(args.records, open_splits(args.records), args.stories, args.count)
    write_bytes(out, page.encode())
    print(f"page: {out}")
