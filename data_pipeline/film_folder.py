"""Films that `stage data ingest` has cut into shots, as examples: their frames, and what somebody says of them."""

from __future__ import annotations

import functools
import json
from pathlib import Path

from data_pipeline.ingest import ShotRecord
from data_pipeline.outside import Source
from stage_jax.errors import InputError
from stage_jax.story.example import Example
from stage_jax.story.pairs import SUFFIXES, read_pairs
from stage_jax.story.readers import read_story
from stage_jax.story.tables import listed_once
from stage_jax.story.types import Scene, Shot, Story, story_from_json, story_to_json

SHOTS, STORY = "shots.jsonl", "story.json"
LICENCE = "of the film"


def film_sources(folder: Path) -> list[Source]:
    """A source of every film: `folder` itself or the folders in it that hold `shots.jsonl` or `story.json`.

    The captions are those of `story.json`, whose shots are named as the frames are, or stand beside the frames as
    SC01_SH010.txt. InputError if there is no film, or if a film has neither."""
    places = [place for place in (folder, *sorted(folder.glob("*/"))) if (place / SHOTS).is_file() or (place / STORY).is_file()]
    if not places:
        raise InputError(f"{folder}: found no {SHOTS} or {STORY}, in it or in the folders in it, expected an ingest")
    sources = []
    for place in places:
        story = read_story(place / STORY) if (place / STORY).is_file() else _captioned(place)
        sources.append(Source(place.name, _first_picture(place, story), functools.partial(_example, place, story)))
    return sources


def _example(place: Path, story: Story) -> Example:
    return Example(story, tuple(read_pairs(place, story).values()), source=f"film folder {place.name}", licence=LICENCE)


def _first_picture(place: Path, story: Story) -> Path:
    scene, shot = next(story.shots())
    files = [place / f"{story.shot_name(scene, shot)}_start{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def _captioned(place: Path) -> Story:
    """The kept shots of an ingest, each with the caption that stands beside its frames."""
    path = place / SHOTS
    try:
        records = [ShotRecord(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
        captions = {record.name: place / f"{record.name}.txt" for record in records if record.kept}
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not the shots of an ingest ({error})") from None
    missing = [caption.name for caption in captions.values() if not caption.is_file()]
    if missing or not captions:
        found = f"no {listed_once(missing)}" if missing else "no shot that is kept"
        raise InputError(f"{place}: found {found}, expected a caption of every kept shot there, or {STORY}")
    shots = tuple(
        Shot(record.name.removeprefix("SC01_"), _caption(captions[record.name]), movement=record.camera)
        for record in records
        if record.kept
    )
    story = Story(title=records[0].film, scenes=(Scene("SC01", shots=shots),))
    return story_from_json(story_to_json(story), str(place))  # with all its checks


def _caption(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig").strip()
    except UnicodeDecodeError:
        raise InputError(f"{path}: found bytes that are no UTF-8, expected a caption") from None
