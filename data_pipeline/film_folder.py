"""Films that `stage data ingest` has cut into shots, as examples: their frames, and what somebody says of them."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_pipeline.clips import ClipForm, StoryClips, find_film
from data_pipeline.ingest.shots import INTERIOR, SHOTS, ShotRecord, read_shots
from data_pipeline.ingest.stories import film_story, told_shot
from data_pipeline.outside import Source
from stage_jax.errors import InputError
from stage_jax.story.board import Pair
from stage_jax.story.example import Example
from stage_jax.story.masks import UNKNOWN, read_mask
from stage_jax.story.pairs import SUFFIXES, read_pairs, read_picture
from stage_jax.story.readers import read_story
from stage_jax.story.tables import listed_once, read_json
from stage_jax.story.types import Shot, Story, story_from_json, story_to_json

STORY = "story.json"
ENDS = ("start", "end")
NOTHING_LEFT = {"scenes": []}  # where the annotation has left out every shot
LICENCE = "of the film"


@dataclasses.dataclass(frozen=True)
class Films:
    """sources: one of every story. short: the shots that are left out since they are too short for a clip, NAME of FILM."""

    sources: tuple[Source, ...]
    short: tuple[str, ...]


def film_sources(folder: Path, form: ClipForm | None = None) -> Films:
    """A source of every story of every film: `folder` itself or the folders in it that hold `shots.jsonl` or `story.json`.

    What is said of the shots is in `story.json`, whose shots are named as the frames are, or stands beside the frames as
    SC01_SH010.txt, or is nothing: such a shot has an empty description, which training refuses. The scenes of an ingested
    film are its stories; a folder with `story.json` alone holds one; a film of which no shot is left has none. form: of clips,
    which only ingested films have; shots too short for one are left out. InputError if there is no film, or no story, or if a
    film that clips are wanted of is not where `form` says."""
    places = [place for place in (folder, *sorted(folder.glob("*/"))) if (place / SHOTS).is_file() or (place / STORY).is_file()]
    if not places:
        raise InputError(f"{folder}: found no {SHOTS} or {STORY}, in it or in the folders in it, expected an ingest")
    sources: list[Source] = []
    short: list[str] = []
    for place in places:
        stories = _stories(place)
        film = find_film(place, form.films) if form and stories else None
        for whole in stories:
            name = place.name if len(stories) == 1 else f"{place.name}/{whole.scenes[0].id}"
            story, clips = _with_clips(place, whole, form, film) if film else (whole, None)
            left = {story.shot_name(*shot) for shot in story.shots()}
            short += [f"{shot} of {place.name}" for shot in (whole.shot_name(*s) for s in whole.shots()) if shot not in left]
            if left:
                interior = INTERIOR if clips else _interior_count(place, story)
                load = functools.partial(_example, place, story, interior, clips)
                sources.append(Source(name, _first_picture(place, story), load, place.name, interior, clips))
    if not sources:
        found = f"only shots that are too short for a clip ({len(short):,})" if short else "no shot that is in a story"
        raise InputError(f"{folder}: found {found}, expected 1 or more")
    return Films(tuple(sources), tuple(short))


def _with_clips(place: Path, story: Story, form: ClipForm, film: Path) -> tuple[Story, StoryClips]:
    """The story without the shots that are too short for a clip, and the clips of the others."""
    records = {record.name: record for record in read_shots(place).kept}
    strange = [name for name in (story.shot_name(*shot) for shot in story.shots()) if name not in records]
    if strange:
        raise InputError(f"{place / STORY}: found {listed_once(strange)}, expected shots that {SHOTS} has kept")
    scenes = [
        dataclasses.replace(scene, shots=tuple(s for s in scene.shots if form.times(records[story.shot_name(scene, s)])))
        for scene in story.scenes
    ]
    left = dataclasses.replace(story, scenes=tuple(scene for scene in scenes if scene.shots))
    taken = tuple(records[left.shot_name(*shot)] for shot in left.shots())
    return left, StoryClips(form, film, taken)


def _stories(place: Path) -> list[Story]:
    if not (place / SHOTS).is_file():
        return [read_story(place / STORY, captions=False)]
    film = read_shots(place)
    if not film.kept:
        return []
    if (place / STORY).is_file():
        if read_json(place / STORY, "a story") == NOTHING_LEFT:
            return []
        story = read_story(place / STORY, captions=False)
    else:
        told = {record.name: _captioned(place, record) for record in film.kept}
        story = story_from_json(story_to_json(film_story(film, told)), str(place), captions=False)  # with all its checks
    return [dataclasses.replace(story, scenes=(scene,)) for scene in story.scenes if scene.shots]


def _interior_count(place: Path, story: Story) -> int:
    """How many frames between start and end all shots have: SC01_SH010_interior1.png and so on."""
    names = [story.shot_name(*shot) for shot in story.shots()]
    return next(k for k in itertools.count() if not all((place / f"{name}_interior{k + 1}.png").is_file() for name in names))


def _example(place: Path, story: Story, interior: int, clips: StoryClips | None) -> Example:
    pairs = read_pairs(place, story)
    inside = [] if clips else [[read_picture(place / f"{name}_interior{k + 1}.png") for k in range(interior)] for name in pairs]
    return Example(
        story,
        tuple(pairs.values()),
        interior=tuple(map(tuple, inside)),
        source=f"film folder {place.name}",
        licence=LICENCE,
        references=_references(place, story),
        masks=_masks(place, story, pairs, clips),
    )


def _references(place: Path, story: Story) -> tuple[UInt8[np.ndarray, "_ _ 3"], ...]:
    """The same number of each character, as many as of the one with the fewest."""
    count = min((len(character.references) for character in story.characters), default=0)
    return tuple(read_picture(place / path) for character in story.characters for path in character.references[:count])


def _masks(
    place: Path, story: Story, pairs: Mapping[str, Pair], clips: StoryClips | None
) -> tuple[UInt8[np.ndarray, "_ _"], ...]:
    """SC01_SH010_start_mask.png and so on: of all frames or of none. A clip that ends before its shot has no known end."""
    frames = {place / f"{name}_{which}_mask.png": getattr(pair, which) for name, pair in pairs.items() for which in ENDS}
    missing = [path.name for path in frames if not path.is_file()]
    if len(missing) == len(frames):
        return ()
    if missing:
        raise InputError(f"{place}: found no {listed_once(missing)}, expected masks of all frames or of none")
    masks = [read_mask(path, frame.shape[:2], len(story.characters)) for path, frame in frames.items()]
    for k, shot in enumerate(clips.shots if clips else ()):
        if not clips.form.ends_with(shot):
            masks[2 * k + 1] = np.full_like(masks[2 * k + 1], UNKNOWN)
    return tuple(masks)


def _first_picture(place: Path, story: Story) -> Path:
    scene, shot = next(story.shots())
    files = [place / f"{story.shot_name(scene, shot)}_start{suffix}" for suffix in SUFFIXES]
    return next((file for file in files if file.is_file()), files[0])


def _captioned(place: Path, record: ShotRecord) -> Shot:
    """The shot with the caption that stands beside its frames, if one does."""
    path, shot = place / f"{record.name}.txt", told_shot(record)
    try:
        return dataclasses.replace(shot, description=path.read_text(encoding="utf-8-sig").strip()) if path.is_file() else shot
    except UnicodeDecodeError:
        raise InputError(f"{path}: found bytes that are no UTF-8, expected a caption") from None
