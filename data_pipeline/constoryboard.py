"""ConStoryBoard (STAGE's data set) as examples: the released folder of pictures and `all_annotations_hf.json`.

What is known of the file: an object whose "data" is a list, in which shots have a "description" (facts gathered by others; the
release has no description of its keys). All else in `FIELDS` and `LISTS` is our reading, to be held against the file: each of
our fields with the keys that it may have there. Where a list lacks shots of its own, each of its entries is one shot, and
entries of the same clip (`CLIP`), in their order, are a story. Keys that nothing reads are returned, to be told once.

ConStoryBoard-HP, the pairs that people preferred, is not released: its shape here is ours, `CHOSEN` and `REJECTED` on a shot,
each a list of a start and an end picture; what is chosen takes the place of the shot's own frames.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data_pipeline.outside import Source
from stage_jax.errors import InputError
from stage_jax.files import is_inside
from stage_jax.story.board import Pair
from stage_jax.story.checks import check_path
from stage_jax.story.example import Example, Preference
from stage_jax.story.pairs import read_picture
from stage_jax.story.schema import Place, described
from stage_jax.story.tables import read_json
from stage_jax.story.types import Scene, Shot, Story, story_from_json, story_to_json

ANNOTATIONS = "all_annotations_hf.json"
LISTS = ("shots", "shot_list")
CLIP = ("clip", "clip_id", "video_id", "video", "story_id")
TITLE = ("title", "theme", "name", *CLIP)
CHOSEN, REJECTED = ("chosen", "image_chosen"), ("rejected", "image_rejected")
FIELDS: Mapping[str, tuple[str, ...]] = {
    "description": ("description", "caption", "prompt"),
    "start": ("start_frame", "start", "start_image", "first_frame", "first_image"),
    "end": ("end_frame", "end", "end_image", "last_frame", "last_image"),
    "size": ("shot_type", "shot_size", "size"),
    "angle": ("shot_angle", "camera_angle", "angle"),
    "movement": ("shooting_method", "camera_movement", "movement"),
    "seconds": ("seconds", "duration"),
    "frames": ("frame_num", "num_frames"),
}
"""Our field of a shot, and the keys that it may have. `description`, `start` and `end` have to be there; the columns of the
paper's first figure (shot type, shooting method, shot angle, frame num) may be."""
FPS = 16.0  # Wan's, by which a number of frames becomes seconds
LICENCE = "unknown: ConStoryBoard, from Condensed Movies; research use is the user's to settle"


@dataclasses.dataclass(frozen=True)
class BoardFile:
    """What `all_annotations_hf.json` says. entries: place, value and shots of every story. unknown: keys that nothing reads."""

    folder: Path
    entries: tuple[tuple[str, Mapping[str, Any], tuple[tuple[Place, Mapping[str, Any]], ...]], ...]
    unknown: tuple[str, ...]


def open_constoryboard(folder: Path) -> BoardFile:
    """Reads the annotations, not the pictures. Raises InputError, naming the place, if they are not of this shape."""
    path = folder / ANNOTATIONS
    value = read_json(path, "ConStoryBoard's annotations")
    if not isinstance(value, dict) or not isinstance(value.get("data"), list):
        raise InputError(f"{path}: found {described(value)} without a list 'data', expected ConStoryBoard's annotations")
    unknown: dict[str, None] = {}
    told: dict[str, tuple[Mapping[str, Any], list[tuple[Place, Mapping[str, Any]]]]] = {}
    for i, entry in enumerate(value["data"]):
        place = Place(str(path), f"data[{i}]")
        entry = _object(entry, place)
        key = _key(entry, LISTS)
        if key is None:
            known = {*CLIP, *TITLE, *CHOSEN, *REJECTED, *(key for keys in FIELDS.values() for key in keys)}
            clip = _first(entry, CLIP)
            name = f"clip {clip}" if clip is not None else f"data[{i}]"
            told.setdefault(name, (entry, []))[1].append((place, entry))
            unknown |= dict.fromkeys(key for key in entry if key not in known)
            continue
        listed = entry[key]
        if not isinstance(listed, list) or not listed:
            raise place.key(key).error(described(listed), "a list of shots")
        places = [place.key(key).item(j) for j in range(len(listed))]
        told[f"data[{i}]"] = (entry, [(at, _object(shot, at)) for at, shot in zip(places, listed, strict=True)])
        unknown |= dict.fromkeys(name for name in entry if name not in {*LISTS, *TITLE})
        known = {*CHOSEN, *REJECTED, *(name for names in FIELDS.values() for name in names)}
        unknown |= dict.fromkeys(name for shot in listed for name in shot if name not in known)
    if not told:
        raise InputError(f"{path}: found no story in 'data', expected at least one")
    entries = tuple((name, entry, tuple(shots)) for name, (entry, shots) in told.items())
    return BoardFile(folder, entries, tuple(sorted(unknown)))


def constoryboard_sources(board: BoardFile, *, preferences: bool = False) -> list[Source]:
    """A source of every story. preferences: of ConStoryBoard-HP; every story must then have some.

    Raises InputError, naming the place, for a required field that is missing, a picture that is none or lies outside; what
    only the pictures or a whole story tell, when it is loaded."""
    sources = []
    for name, entry, shots in board.entries:
        place, shot = shots[0]
        chosen = _first(shot, CHOSEN) if preferences else None
        first = chosen[0] if isinstance(chosen, list) and chosen else _field(shot, "start", place)
        load = functools.partial(_example, board.folder, name, entry, shots, preferences)
        sources.append(Source(name, _picture_path(board.folder, first, place), load))
    return sources


def _example(
    folder: Path, name: str, entry: Mapping[str, Any], told: Iterable[tuple[Place, Mapping[str, Any]]], wanted: bool
) -> Example:
    shots, pairs, preferences = [], [], []
    for i, (place, value) in enumerate(told):
        given = _first(value, CHOSEN), _first(value, REJECTED)
        if wanted and None not in given:
            chosen, rejected = (_pair(folder, pictures, place) for pictures in given)
            pairs.append(chosen)
            preferences.append(Preference(i, chosen, rejected, "people preferred the other"))
        else:
            pairs.append(_pair(folder, [_field(value, "start", place), _field(value, "end", place)], place))
        shots.append(_shot(value, i, place))
    if wanted and not preferences:
        raise InputError(f"{folder / ANNOTATIONS}: {name}: found no shot with 'chosen' and 'rejected', expected at least one")
    title = _first(entry, TITLE)
    story = Story(title=str(title if title is not None else name)[:200], fps=FPS, scenes=(Scene("SC01", shots=tuple(shots)),))
    story = story_from_json(story_to_json(story), f"{folder / ANNOTATIONS}: {name}")  # with all its checks
    return Example(story, tuple(pairs), (), tuple(preferences), f"ConStoryBoard, {name}", LICENCE)


def _shot(value: Mapping[str, Any], index: int, place: Place) -> Shot:
    optional = {name: _field(value, name, place, required=False) for name in ("size", "angle", "movement")}
    seconds = _number(value, "seconds", place)
    frames = _number(value, "frames", place)
    length = seconds if seconds is not None else frames / FPS if frames is not None else Shot.seconds
    texts = {name: text or "" for name, text in optional.items()}
    return Shot(f"SH{10 * (index + 1):03d}", _field(value, "description", place), seconds=length, **texts)


def _pair(folder: Path, pictures: Any, place: Place) -> Pair:
    if not isinstance(pictures, list) or len(pictures) != 2:
        raise place.error(described(pictures), "a list of a start and an end picture")
    start, end = (read_picture(_picture_path(folder, name, place)) for name in pictures)
    return Pair(start, end)


def _picture_path(folder: Path, name: Any, place: Place) -> Path:
    if not isinstance(name, str):
        raise place.error(described(name), "the path of a picture")
    check_path(name, place)
    path = folder / name
    if not is_inside(path, folder):
        raise place.error(described(name), f"a picture inside {folder}")
    return path


def _object(value: Any, place: Place) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise place.error(described(value), "an object")
    return value


def _key(value: Mapping[str, Any], keys: Iterable[str]) -> str | None:
    """The first of `keys` that is there and not null."""
    return next((key for key in keys if value.get(key) is not None), None)


def _first(value: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The value of the first of `keys` that is there and not null."""
    key = _key(value, keys)
    return None if key is None else value[key]


def _field(value: Mapping[str, Any], name: str, place: Place, required: bool = True) -> Any:
    key = _key(value, FIELDS[name])
    if key is None:
        if required:
            raise place.error(f"no {name}", "one of the keys " + ", ".join(FIELDS[name]))
        return None
    if not isinstance(value[key], str):
        raise place.key(key).error(described(value[key]), "a string")
    return value[key]


def _number(value: Mapping[str, Any], name: str, place: Place) -> float | None:
    key = _key(value, FIELDS[name])
    if key is None:
        return None
    found = value[key]
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 < found < 1e6:
        raise place.key(key).error(described(found), "a number above 0")
    return float(found)
