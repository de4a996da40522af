"""Annotates ingested films: `story.json`, which `film_folder` reads, and `annotations.jsonl`, who said what and what failed.

A film's annotation is a function of its shots and of the parts that are given, so that a run that was killed is run again;
what models have answered is kept beside the films and is not asked again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from data_pipeline.annotate.told import Annotator, Told, ToldFilm, untold
from data_pipeline.film_folder import NOTHING_LEFT, STORY
from data_pipeline.ingest.shots import FilmShots, read_shots
from data_pipeline.ingest.stories import film_story
from stage_jax.errors import InputError
from stage_jax.files import write_text
from stage_jax.story.types import Story, story_from_json, story_to_json

ANNOTATIONS = "annotations.jsonl"
SAID = ("description", "size", "angle", "movement", "characters", "dialogue")


def annotate_film(folder: Path, parts: Sequence[Annotator], alone: bool = True) -> ToldFilm:
    """Lets every part in turn say what it knows of the film in `folder`, and writes that there. alone: as in `ToldFilm`.

    Raises InputError for what a part was given, or if `story.json` was written, or changed, by somebody else."""
    film = read_shots(folder)
    _check_ours(folder)
    told = untold(film, alone)
    for part in parts:
        told = part(told)
    text = _json(story_to_json(story_of(told)) if any(not shot.dropped for shot in told.shots) else NOTHING_LEFT)
    lines = "".join(_json(line) for line in (*map(_line, told.shots), {"story": text}))
    # In this order, so that a story beside other annotations than its own is one that somebody has changed.
    (folder / STORY).unlink(missing_ok=True)
    write_text(folder / ANNOTATIONS, lines)
    write_text(folder / STORY, text)
    return told


def story_of(told: ToldFilm) -> Story:
    """The story of the shots that are not dropped, 1 or more, with all its checks."""
    left = {shot.record.name: shot.shot for shot in told.shots if not shot.dropped}
    kept = tuple(dataclasses.replace(shot, kept=shot.name in left) for shot in told.film.shots)
    story = film_story(FilmShots(told.film.folder, kept), left)
    story = dataclasses.replace(story, characters=told.characters)
    return story_from_json(story_to_json(story), str(told.film.folder), captions=False)


def _line(told: Told) -> dict[str, Any]:
    said = {name: getattr(told.shot, name) for name in SAID}
    rest = {"by": told.by, "scores": told.scores, "problems": told.problems, "dropped": told.dropped}
    return {"name": told.record.name, **said, **rest}


def _check_ours(folder: Path) -> None:
    """InputError if the story in `folder` is not the one that the annotations there led to: somebody's work would be lost."""
    try:
        found = (folder / STORY).read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    try:
        ours = json.loads((folder / ANNOTATIONS).read_text(encoding="utf-8").splitlines()[-1])["story"]
    except (OSError, ValueError, LookupError, TypeError):
        ours = None
    if found != ours:
        raise InputError(f"{folder / STORY}: found a story that was not annotated here or was changed since; move it away")


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False) + "\n"
