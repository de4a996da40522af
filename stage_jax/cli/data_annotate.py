"""`stage data annotate DIR`: what is to be said of ingested films, from files, endpoints and models."""

from __future__ import annotations

import argparse
import math
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from stage_jax.cli.arguments import refuse, whole
from stage_jax.progress import Progress

if TYPE_CHECKING:
    from data_pipeline.annotate.parts import Asked

INCOMPLETE = 1  # exit code where something could not be said of some shot


def add_parser(kinds: argparse._SubParsersAction) -> None:
    parser = kinds.add_parser(
        "annotate", help="captions and camera words for ingested films",
        description="Writes story.json and annotations.jsonl into every ingested film. Run again, it asks no model twice.",
    )  # fmt: skip
    parser.add_argument("folder", metavar="DIR", type=Path, help="an ingested film, or a folder of them")
    add_parts(parser)
    parser.set_defaults(run=run)


def add_parts(parser: argparse.ArgumentParser) -> None:
    """The flags that say which parts an annotation has."""
    files = parser.add_argument_group("from files, which go over what was measured; more than once each")
    files.add_argument(
        "--captions", metavar="PATH", type=Path, action="append", default=[],
        help="a .csv, .json or .jsonl table, a .srt file, or a folder of SC01_SH010.txt",
    )  # fmt: skip
    files.add_argument(
        "--dialogue", metavar="PATH", type=Path, action="append", default=[], help="a .srt file, or a folder of FILM.srt"
    )
    files.add_argument("--roles", metavar="FILE", type=Path, action="append", default=[], help="a .json of who appears where")
    model = parser.add_argument_group("from a model that sees pictures, for what is still missing")
    model.add_argument(
        "--endpoint", metavar="URL", default="", help="an OpenAI-compatible one, such as http://localhost:8000/v1"
    )
    model.add_argument("--model", metavar="NAME", default="", help="what the endpoint calls it")
    model.add_argument("--key-env", metavar="VARIABLE", default="", help="environment variable with the endpoint's key")
    model.add_argument(
        "--answers", choices=("json_schema", "json_object", "text"), default="json_schema",
        help="the response_format that the endpoint knows (json_schema)",
    )  # fmt: skip
    model.add_argument("--timeout", metavar="SECONDS", type=whole(1, 3600), default=120, help="for one answer (120)")
    model.add_argument("--attempts", metavar="N", type=whole(1, 100), default=5, help="for one answer (5)")
    model.add_argument("--workers", metavar="N", type=whole(1, 256), default=8, help="questions asked at once (8)")
    model.add_argument("--vlm", metavar="DIR", type=Path, help="a transformers folder instead of an endpoint (extra `torch`)")
    model.add_argument("--referential", action="store_true", help="write captions anew so that they refer to the shot before")
    scores = parser.add_argument_group("scores, by weights that you have")
    scores.add_argument("--aesthetic", metavar="FILE", type=Path, help="a linear head on CLIP's embeddings, in safetensors")
    scores.add_argument("--clip", metavar="DIR", type=Path, help="the model folder with the CLIP of that head")
    scores.add_argument("--watermark", metavar="DIR", type=Path, help="a transformers classifier (extra `torch`)")
    scores.add_argument("--faces", metavar="DIR", type=Path, help="a transformers detector (extra `torch`)")
    for name, side in (("least", "below"), ("most", "above")):
        scores.add_argument(
            f"--{name}", metavar="SCORE=N", type=_limit, action="append", default=[],
            help=f"leave out shots {side} it, such as {'aesthetic=4.5' if name == 'least' else 'watermark=.5'}",
        )  # fmt: skip
    model.add_argument("--kept", metavar="DIR", type=Path, help="where models' answers are kept (DIR/answers)")


def _limit(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        limit = float(number)
    except ValueError:
        limit = math.nan
    if math.isnan(limit):  # nothing is below or above it
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a score and a number, such as aesthetic=4.5")
    return name, limit


def asked_of(args: argparse.Namespace) -> Asked:
    """What the flags of `add_parts` ask for."""
    from data_pipeline.annotate.parts import Asked

    return Asked(
        captions=tuple(args.captions), dialogue=tuple(args.dialogue), endpoint=args.endpoint, model=args.model,
        key_env=args.key_env, answers=args.answers, seconds=float(args.timeout), attempts=args.attempts,
        workers=args.workers, vlm=args.vlm, referential=args.referential, roles=tuple(args.roles), aesthetic=args.aesthetic,
        clip=args.clip, watermark=args.watermark, faces=args.faces, least=tuple(args.least), most=tuple(args.most),
    )  # fmt: skip


def run(args: argparse.Namespace, unknown: list[str]) -> int:
    refuse(unknown)
    from data_pipeline.annotate.film import annotate_film
    from data_pipeline.annotate.parts import open_parts, rows_of, tables
    from data_pipeline.annotate.side_table import names_of
    from data_pipeline.ingest.shots import film_folders
    from stage_jax.errors import InputError
    from stage_jax.story.tables import listed_once

    films = film_folders(args.folder)
    parts = open_parts(asked_of(args), args.kept or args.folder / "answers")
    failed, names = 0, set[PurePosixPath]()
    with Progress() as progress:
        for table in tables(parts):
            if table.unknown:
                progress.say(f"{table.path}: columns that are not read: {listed_once(table.unknown)}")
        for number, film in enumerate(films, start=1):
            try:
                told = annotate_film(film, parts, alone=len(films) == 1)
            except InputError as error:
                progress.say(f"{error}")
                failed += 1
                continue
            for shot in told.shots:
                names |= set(names_of(told, shot))
                for problem in shot.problems:
                    progress.say(f"{film / shot.record.name}: {problem}")
            failed += any(shot.problems for shot in told.shots)
            captions = sum(bool(shot.shot.description) for shot in told.shots)
            dropped = sum(bool(shot.dropped) for shot in told.shots)
            print(f"{film}: {captions} of {len(told.shots)} shots have a caption, {dropped} are left out")
            progress.step("films", number, len(films))
        for file, rows in rows_of(parts):
            strange = [told for name, told in rows.items() if name not in names]
            if strange:
                progress.say(f"{file}: of {len(rows):,} rows these name no shot here: {listed_once(strange)}")
                failed += len(strange) == len(rows)
    return INCOMPLETE if failed else 0
