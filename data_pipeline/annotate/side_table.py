"""Captions and attributes from a csv, json or jsonl table: a row for each shot, in the columns that trainers use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from data_pipeline.annotate.told import Told, ToldFilm
from stage_jax.errors import InputError
from stage_jax.story.schema import Place, described
from stage_jax.story.tables import ALIASES, read_rows
from stage_jax.story.vocabulary import VOCABULARY, in_vocabulary

SHOT = ("shot", "shot_name", *ALIASES["video"], *ALIASES["image"])
FIELDS: Mapping[str, tuple[str, ...]] = {
    "description": (*ALIASES["prompt"], "description", "text"),
    "size": ("size", "shot_size", "shot_type"),
    "angle": ("angle", "shot_angle", "camera_angle"),
    "movement": ("movement", "camera_movement", "shooting_method"),
    "dialogue": ("dialogue",),
}
"""Our field of a shot, and the columns that it may have; the first that a row has is taken."""
_PICTURE = re.compile(r"_(?:start|end|interior\d+)\Z")


@dataclass(frozen=True)
class SideTable:
    """rows: the place of each row in its file and the fields that it has, by the path of its shot, such as
    film/SC01_SH010.mp4, in whatever column of `SHOT` it stands. unknown: columns that are not read."""

    path: Path
    rows: Mapping[PurePosixPath, tuple[Place, Mapping[str, str]]]
    unknown: tuple[str, ...]

    def __call__(self, told: ToldFilm) -> ToldFilm:
        return told.with_shots([self._told(told, shot) for shot in told.shots])

    def _told(self, film: ToldFilm, told: Told) -> Told:
        found = [self.rows[name] for name in names_of(film, told) if name in self.rows]
        for place, fields in found[:1]:
            good = {name: _word(name, value) for name, value in fields.items()}
            told = told.said(place.file, True, **good)
            for name in (name for name, value in good.items() if not value and fields[name]):
                expected = ", ".join(VOCABULARY[name])
                told = told.problem(f"{place.path}: {name}: found {described(fields[name])}, expected one of {expected}")
        return told


def read_side_table(path: Path) -> SideTable:
    """Reads a whole table. InputError, naming the row, for a row that names no shot, or one that has had a row, or a value that
    is no text."""
    rows: dict[PurePosixPath, tuple[Place, Mapping[str, str]]] = {}
    unknown: dict[str, None] = {}
    known = {*SHOT, *(column for columns in FIELDS.values() for column in columns)}
    for number, row in enumerate(read_rows(path), start=1):
        place = Place(str(path), f"row {number}")
        named = _first(row, SHOT, place)
        if not named:
            raise place.error("no shot", f"one of the columns {', '.join(SHOT)}")
        key = _key(named)
        if key in rows:
            raise place.error(f"{described(str(key))} again", f"a row for each shot, {rows[key][0].path} is of this one")
        rows[key] = place, {name: _first(row, columns, place) for name, columns in FIELDS.items()}
        unknown |= dict.fromkeys(column for column in row if column not in known)
    if not rows:
        raise InputError(f"{path}: found no row, expected one for each shot")
    return SideTable(path, rows, tuple(sorted(unknown)))


def names_of(film: ToldFilm, told: Told) -> list[PurePosixPath]:
    """What side files may call a shot: FILM/SC01_SH010, with the film's folder or the name of its file; without it if the film
    is alone."""
    file, name = told.record.film, told.record.name
    films = dict.fromkeys((film.film.folder.resolve().name, file, PurePosixPath(file).stem))
    return [*(PurePosixPath(of, name) for of in films), *([PurePosixPath(name)] if film.alone else [])]


def _key(named: str) -> PurePosixPath:
    """The last folder and the shot's name in a path to a clip or a picture of it."""
    path = PurePosixPath(named.replace("\\", "/"))
    name = _PICTURE.sub("", path.stem)
    return PurePosixPath(path.parent.name, name) if path.parent.name else PurePosixPath(name)


def _first(row: Mapping[str, Any], columns: tuple[str, ...], place: Place) -> str:
    """The value of the first of `columns` that is there and not empty."""
    column = next((column for column in columns if row.get(column) not in (None, "")), None)
    if column is None:
        return ""
    if not isinstance(row[column], str):
        raise place.key(column).error(described(row[column]), "a string")
    return row[column].strip()


def _word(name: str, value: str) -> str:
    return (in_vocabulary(name, value) or "") if name in VOCABULARY else value
