"""Ingest, annotation and records under Apache Beam: the functions that run in-process, a film or a story at a time.

The extra `beam` in an environment of its own (requirements-beam.lock): its pins do not go with the core's lock. Nothing here
imports JAX. Films and the folder of ingested films may be on whatever file system Beam knows (gs://, s3://, hdfs://); records
and the models' answers are written to a disk that all workers share.
"""

from __future__ import annotations

import functools
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from data_pipeline.annotate.film import ANNOTATIONS, annotate_film
from data_pipeline.annotate.parts import Asked, open_parts
from data_pipeline.film_folder import STORY
from data_pipeline.ingest.film import ingest_film
from data_pipeline.ingest.shots import SHOTS, read_shots
from data_pipeline.outside import Size, Source, record_of, write_groups
from data_pipeline.records import Shape, written
from stage_jax.errors import InputError

REPORT = "report"  # of one run: OUT/report-00000-of-00001.jsonl and so on


class FilmFn(beam.DoFn):
    """Makes the folder of each film and says how it went: {"film", "shots", "kept", "problems", "error"}."""

    def __init__(self, out: str, asked: Asked | None, kept: str, alone: bool):
        self.out, self.asked, self.kept, self.alone = out, asked, kept, alone

    def setup(self) -> None:
        self.parts = None if self.asked is None else open_parts(self.asked, Path(self.kept))

    def process(self, film: str) -> Iterator[dict[str, Any]]:
        place = FileSystems.join(self.out, folder_name(film))
        told = {"film": film, "shots": 0, "kept": 0, "problems": 0, "error": ""}
        with tempfile.TemporaryDirectory() as scratch:
            try:
                yield told | self._made(film, place, Path(scratch))
            except InputError as error:
                text = str(error).replace(str(_local(film, Path(scratch))), film)
                logging.error("%s", text)
                yield told | {"error": text}

    def _made(self, film: str, place: str, scratch: Path) -> dict[str, int]:
        """The film's folder at `place`; what is whole there already is not made again."""
        folder = Path(place) if is_local(place) else scratch / folder_name(film)
        if is_local(place):
            ingest_film(_fetched(film, scratch), folder)
        elif FileSystems.exists(FileSystems.join(place, SHOTS)):
            _receive(place, folder)
        else:
            ingest_film(_fetched(film, scratch), folder)
            _send(folder, place, [file.name for file in folder.iterdir() if file.name != SHOTS])
            _send(folder, place, [SHOTS])  # last: a folder without it is not whole
        problems = 0
        if self.parts is not None:
            problems = sum(bool(shot.problems) for shot in annotate_film(folder, self.parts, self.alone).shots)
            if not is_local(place):
                _remove(FileSystems.join(place, STORY))  # a worker that is killed leaves no story of other annotations
                _send(folder, place, [ANNOTATIONS, STORY])
        shots = read_shots(folder)
        return {"shots": len(shots.shots), "kept": len(shots.kept), "problems": problems}


def ingest_films(
    films: Sequence[str], out: str, flags: Sequence[str], asked: Asked | None = None, kept: Path | None = None
) -> list[dict[str, Any]]:
    """Every film, or every film that a pattern such as gs://BUCKET/*.mp4 matches, to its folder in `out`; then annotated as
    `asked`. flags: Beam's, such as --runner=DirectRunner. kept: the folder of models' answers, on a disk of the workers
    (OUT/answers where `out` is local).

    Returns a report of every film. A film that cannot be read has an "error" and does not stop the others. InputError if
    nothing matches, or if two films would have the same folder."""
    found = [name for film in films for name in _matching(film)]
    names: dict[str, str] = {}
    for film in found:
        other = names.setdefault(folder_name(film).lower(), film)  # some file systems take a and A for one
        if other != film:
            raise InputError(f"{film}: its folder would be that of {other}, expected films of different names")
    if asked is not None and kept is None and not is_local(out):
        raise InputError(f"{out}: models' answers cannot be kept there, expected a folder on a disk of the workers")
    answers = str(kept or Path(out) / "answers")
    if asked is not None:
        open_parts(asked, Path(answers))  # what is wrong with it is told here, not by every worker
    report = FileSystems.join(out, REPORT)
    for old in _listed(f"{report}-*"):
        FileSystems.delete([old])
    with beam.Pipeline(options=PipelineOptions(list(flags))) as pipeline:
        _ = (
            pipeline
            | beam.Create(sorted(names.values()))
            | beam.Reshuffle()  # else a runner may fuse all films into one worker's work
            | beam.ParDo(FilmFn(out, asked, answers, alone=len(names) == 1))
            | beam.Map(functools.partial(json.dumps, ensure_ascii=False))
            | beam.io.WriteToText(report, file_name_suffix=".jsonl")
        )
    lines = [line for name in _listed(f"{report}-*") for line in FileSystems.open(name).read().decode().splitlines()]
    return sorted(map(json.loads, lines), key=lambda told: told["film"])


def write_film_records(
    sources: Sequence[Source],
    out: Path,
    sizes: Sequence[Size],
    flags: Sequence[str],
    *,
    validation: float = 0.0,
    about: dict,
) -> None:
    """`outside.write_sources` on Beam's workers: the same records in the same order. `out` is on a disk that they share."""

    def examples(shape: Shape, split: str, chosen: Sequence[Source]) -> beam.PTransform:
        load = functools.partial(_example, shape, split)
        return beam.Create(list(enumerate(chosen))) | beam.Reshuffle() | beam.MapTuple(load)

    write_groups(sources, out, sizes, examples, about=about, validation=validation, beam_options=PipelineOptions(list(flags)))


def _example(shape: Shape, split: str, number: int, source: Source) -> tuple[int, dict[str, Any]]:
    return number, written(record_of(source, split, shape))


def folder_name(film: str) -> str:
    return PurePosixPath(film).stem


def is_local(path: str) -> bool:
    return FileSystems.get_scheme(path) is None


def _fetched(film: str, scratch: Path) -> Path:
    """A film as a file of this machine, under its own name."""
    copy = _local(film, scratch)
    if not is_local(film):
        copy.parent.mkdir()
        _copy(film, str(copy))
    return copy


def _local(film: str, scratch: Path) -> Path:
    return Path(film) if is_local(film) else scratch / "film" / PurePosixPath(film).name


def _send(folder: Path, place: str, names: Sequence[str]) -> None:
    for name in sorted(names):
        _copy(str(folder / name), FileSystems.join(place, name))


def _receive(place: str, folder: Path) -> None:
    folder.mkdir()
    for name in _listed(FileSystems.join(place, "*")):
        _copy(name, str(folder / PurePosixPath(name).name))


def _copy(source: str, target: str) -> None:
    """As it is, whatever its name ends in."""
    plain = {"compression_type": CompressionTypes.UNCOMPRESSED}
    with FileSystems.open(source, **plain) as read, FileSystems.create(target, **plain) as write:
        shutil.copyfileobj(read, write, 1 << 20)


def _matching(film: str) -> list[str]:
    found = _listed(film)
    if not found:
        raise InputError(f"{film}: found no such file, expected a film or a pattern of films")
    return found


def _remove(place: str) -> None:
    if FileSystems.exists(place):
        FileSystems.delete([place])


def _listed(pattern: str) -> list[str]:
    return sorted(file.path for match in FileSystems.match([pattern]) for file in match.metadata_list)
