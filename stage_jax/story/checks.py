"""What types alone cannot say about a story: limits, ids that are unique and exist, paths that stay in its folder."""

from __future__ import annotations

import json
import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

from stage_jax.story.schema import Place, described, near

if TYPE_CHECKING:
    from stage_jax.story.types import Shot, Story

MOST_SHOTS = 10_000
LONGEST_PATH = 250  # characters
MOST_REFERENCES = 100  # of one character; memory has room for a handful
MOST_SECONDS = 600.0  # of one shot
LEAST_FPS, MOST_FPS = 1.0, 120.0
MOST_SEED = 2**32 - 1
ASPECT = re.compile(r"[1-9]\d{0,4}:[1-9]\d{0,4}", re.ASCII)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")  # ids that become part of file names


def check_story(story: Story, file: str, captions: bool = True) -> None:
    """Raises InputError, naming the place, for the first thing in `story` that nothing could be made of.

    captions: whether every shot has to say what it shows; nobody may have said so yet of what a real film shows."""
    top = Place(file)
    if not LEAST_FPS <= story.fps <= MOST_FPS:
        raise top.key("fps").error(described(story.fps), f"frames a second, from {LEAST_FPS:g} to {MOST_FPS:g}")
    if not ASPECT.fullmatch(story.aspect):
        raise top.key("aspect").error(described(story.aspect), 'width:height in whole numbers, such as "16:9"')
    shots = sum(len(scene.shots) for scene in story.scenes)
    if not 0 < shots <= MOST_SHOTS:
        raise top.key("scenes").error(f"{shots:,} shots in all", f"1 to {MOST_SHOTS:,}")
    for name in ("characters", "locations", "scenes"):
        _check_ids([entry.id for entry in getattr(story, name)], top.key(name))
    _check_extra(story.extra, top)
    for i, character in enumerate(story.characters):
        here = top.key("characters").item(i)
        _check_extra(character.extra, here)
        if (count := len(character.references)) > MOST_REFERENCES:
            raise here.key("references").error(f"{count:,} pictures", f"at most {MOST_REFERENCES}")
        for j, path in enumerate(character.references):
            check_path(path, here.key("references").item(j))
    _check_scenes(story, top, captions)


def _check_extra(extra: str, place: Place) -> None:
    """A JSON object of objects, one for each format that it is of."""
    try:
        value = json.loads(extra) if extra else {}
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict) or not all(isinstance(item, dict) for item in value.values()):
        raise place.key("extra").error(described(extra), "nothing, or a JSON object of objects")


def _check_scenes(story: Story, top: Place, captions: bool) -> None:
    people, places = [c.id for c in story.characters], [place.id for place in story.locations]
    names: dict[str, str] = {}
    for i, scene in enumerate(story.scenes):
        here = top.key("scenes").item(i)
        _check_name(scene.id, here.key("id"))
        _check_extra(scene.extra, here)
        if scene.location and scene.location not in places:
            raise here.key("location").error(described(scene.location), _an_id("location", scene.location, places))
        for j, shot in enumerate(scene.shots):
            there = here.key("shots").item(j)
            _check_shot(shot, there, people, captions)
            # Names become files, and some file systems take SH010 and sh010 for one.
            name = story.shot_name(scene, shot)
            earlier = names.setdefault(name.lower(), there.path)
            if earlier != there.path:
                raise there.key("id").error(f"a second shot called {name}", f"another id, {earlier} has this one")


def _check_shot(shot: Shot, place: Place, people: list[str], captions: bool) -> None:
    _check_name(shot.id, place.key("id"))
    _check_extra(shot.extra, place)
    if captions and not shot.description.strip():
        raise place.key("description").error(described(shot.description), "what the shot shows")
    if not 0 < shot.seconds <= MOST_SECONDS:
        raise place.key("seconds").error(described(shot.seconds), f"seconds, above 0 and at most {MOST_SECONDS:g}")
    if shot.seed is not None and not 0 <= shot.seed <= MOST_SEED:
        raise place.key("seed").error(described(shot.seed), f"null or a whole number from 0 to {MOST_SEED}")
    for i, who in enumerate(shot.characters):
        if who not in people:
            raise place.key("characters").item(i).error(described(who), _an_id("character", who, people))
        if who in shot.characters[:i]:
            raise place.key("characters").item(i).error(f"{described(who)} again", "each character once")
    for name, frame in (("start", shot.start), ("end", shot.end)):
        if frame.image:
            check_path(frame.image, place.key(name).key("image"))


def _check_ids(ids: list[str], place: Place) -> None:
    seen: dict[str, int] = {}
    for i, name in enumerate(ids):
        here = place.item(i).key("id")
        if not name.strip():
            raise here.error(described(name), "an id")
        if name in seen:
            raise here.error(f"{described(name)} again", f"another id, {place.item(seen[name]).path} has this one")
        seen[name] = i


def _check_name(name: str, place: Place) -> None:
    if not NAME.fullmatch(name):
        raise place.error(described(name), "up to 40 of A-Z a-z 0-9 _ - with a letter or digit first")


def check_path(path: str, place: Place) -> None:
    """Relative, with forward slashes, and not out of the folder; the same on every system."""
    windows = PureWindowsPath(path)
    inside = not (windows.drive or windows.root or "\\" in path or ".." in PurePosixPath(path).parts)
    if not inside or path.startswith("~") or not PurePosixPath(path).name or len(path) > LONGEST_PATH:
        raise place.error(described(path), "a relative path with forward slashes that stays in the story's folder")


def _an_id(kind: str, wrong: str, known: list[str]) -> str:
    return f"the id of a {kind}: {near(wrong, known)}" if known else f"no {kind}, since the story lists none"
