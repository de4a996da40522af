"""`stage data beam ingest` and `records`: what `stage data` does, on the workers of an Apache Beam runner (extra `beam`)."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import ModuleType

from stage_jax.cli import data_clips
from stage_jax.cli.arguments import share, size
from stage_jax.cli.data_annotate import INCOMPLETE, add_parts, asked_of
from stage_jax.errors import InputError


def add_parser(kinds: argparse._SubParsersAction) -> None:
    verbs = kinds.add_parser(
        "beam", help="ingest and records on many machines",
        description="Runs on Apache Beam. Flags that are not listed go to Beam, such as --runner=FlinkRunner.",
    ).add_subparsers(title="what", metavar="WHAT", required=True)  # fmt: skip
    parser = verbs.add_parser("ingest", help="the shots of films", description="Films to folders, each whole or not at all.")
    parser.add_argument("films", metavar="FILM", nargs="+", help="a film or a pattern, such as gs://BUCKET/*.mp4")
    parser.add_argument("--out", metavar="DIR", required=True, help="on any file system that Beam knows")
    parser.add_argument("--annotate", action="store_true", help="annotate the films too, as `stage data annotate` does")
    add_parts(parser)
    parser.set_defaults(run=run_ingest)
    parser = verbs.add_parser("records", help="records of ingested films", description="Writes ingested films as records.")
    parser.add_argument("source", metavar="DIR", type=Path, help="ingested films, on a disk that all workers share")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="a new or empty folder on such a disk")
    parser.add_argument(
        "--size", metavar="HxW", type=size, action="append", required=True, help="of the pictures; more than once for buckets"
    )
    parser.add_argument("--validation", metavar="SHARE", type=share, default=0.0, help="of the stories, held out (0)")
    data_clips.add_clips(parser)
    parser.set_defaults(run=run_records)


def run_ingest(args: argparse.Namespace, unknown: list[str]) -> int:
    if any(flag.split("=")[0] == "--transnet" for flag in unknown):
        raise InputError("--transnet: found under Beam, expected with `stage data ingest` alone: Beam's environment has no JAX")
    told = _beam().ingest_films(args.films, args.out, unknown, asked_of(args) if args.annotate else None, args.kept)
    for film in told:
        kept = f"{film['kept']} of {film['shots']} shots kept, {film['problems']} with problems"
        print(f"{film['film']}: {film['error'] or kept}")
    return INCOMPLETE if any(film["error"] or film["problems"] for film in told) else 0


def run_records(args: argparse.Namespace, unknown: list[str]) -> None:
    beam = _beam()
    from data_pipeline.film_folder import film_sources

    films = film_sources(args.source, data_clips.form_of(args))
    if films.short:
        print(data_clips.left_out(films))
    about = data_clips.about(args, films)
    beam.write_film_records(films.sources, args.out, args.size, unknown, validation=args.validation, about=about)


def _beam() -> ModuleType:
    try:
        from data_pipeline import beam
    except ModuleNotFoundError as error:
        if error.name != "apache_beam":
            raise
        raise InputError("found no Apache Beam here, expected the environment of requirements-beam.lock") from None
    return beam
