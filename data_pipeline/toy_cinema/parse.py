"""Reads a story that a person wrote in the words of the toy world back into what it shows."""

from __future__ import annotations

import dataclasses
import re

import numpy as np

from data_pipeline.toy_cinema import world
from data_pipeline.toy_cinema.captions import PLACE_WORDS, nearest, unknown_words, words
from stage_jax.errors import InputError
from stage_jax.story.types import Scene, Shot, Story

LEVEL = world.EASY
MAX_FIGURES = 2
_LOOK = re.compile(
    rf"\b({'|'.join(LEVEL.colours)}) ({'|'.join(LEVEL.shapes)}) (?:with|in|and) (?:a|the) ({'|'.join(LEVEL.hats)})\b"
)
_ACTION = re.compile(r"\b(?:(?:walks?|goes|go) (?:\w+ ){0,2}?(left|right)|jumps?)\b")
_SKY = re.compile(rf"\b({'|'.join(sky for sky, _, _ in PLACE_WORDS.values())}) sky\b")
_SIDE = re.compile(r"\bon the (left|right)\b")
_GROUNDS_AND_PROPS = {word: kind for kind, (_, *others) in PLACE_WORDS.items() for word in others}


@dataclasses.dataclass(frozen=True)
class _Sighting:
    """What one shot says, by names."""

    named: tuple[str, ...]
    place: str
    size: str
    action: str
    actor_left: bool | None


def toy_from_story(story: Story) -> world.ToyStory:
    """The toy story that a story's words describe, with positions chosen for it.

    Who: names of the toy world or of the story's characters, described as "a red square with a crown" in the first
    shot that names them or in the character's description. Where: the scene's location, or a place named in the shot,
    described as "a night sky over snow with a house". What: "walks left", "walks right", "jumps"; the name before it
    acts.

    Raises InputError, naming the shot, on what it cannot read.
    """
    looks: dict[str, tuple[str, str, str]] = {}
    kinds: dict[str, str] = {}
    names = {*world.NAMES, *(_plain(c.name) for c in story.characters)}
    for character in story.characters:
        if match := _LOOK.search(_plain(character.description)):
            looks[_plain(character.name)] = match.groups()
    for location in story.locations:
        if kind := _place_kind(_plain(location.description), f"location {location.name!r}"):
            kinds[_plain(location.name)] = kind

    sightings = []
    for scene, shot in story.shots():
        where = f"story {story.title!r}, shot {story.shot_name(scene, shot)}"
        sightings.append(_read_shot(story, scene, shot, where, names, looks, kinds))
        for name in sightings[-1].named:
            if name not in looks:
                raise _unreadable(where, f"{name!r} with no description", "one like 'a red square with a crown'")
        if sightings[-1].place not in kinds:
            expected = "one like 'a night sky over snow with a house'"
            raise _unreadable(where, f"place {sightings[-1].place!r} with no description", expected)
    if not sightings:
        raise _unreadable(f"story {story.title!r}", "no shots", "at least one")

    who = list(dict.fromkeys(name for s in sightings for name in s.named))
    places = list(dict.fromkeys(s.place for s in sightings))
    return world.ToyStory(
        seed=0,
        split=world.GIVEN,
        characters=tuple(
            world.ToyCharacter(name, shape, colour, hat) for name in who for colour, shape, hat in [looks[name]]
        ),
        places=tuple(world.ToyPlace(name, kinds[name]) for name in places),
        shots=_place_shots(sightings, who, places),
    )


def _plain(text: str) -> str:
    return " ".join(words(text))


def _unreadable(where: str, found: str, expected: str) -> InputError:
    return InputError(f"{where}: found {found}, expected {expected}")


def _read_shot(
    story: Story,
    scene: Scene,
    shot: Shot,
    where: str,
    names: set[str],
    looks: dict[str, tuple[str, str, str]],
    kinds: dict[str, str],
) -> _Sighting:
    """Reads one shot and notes what it describes in `looks` and `kinds`."""
    text = _plain(shot.description)
    if unknown := unknown_words(shot.description):
        near = [f"{word!r}" + (f" (near: {', '.join(found)})" if (found := nearest(word)) else "") for word in unknown]
        raise _unreadable(where, f"unknown words {'; '.join(near)}", "words of the toy world")
    action = _ACTION.search(text)
    if action is None:
        raise _unreadable(where, f"no action in {shot.description!r}", "'walks left', 'walks right' or 'jumps'")
    spots = sorted((m.start(), name) for name in names for m in re.finditer(rf"\b{re.escape(name)}\b", text))
    mentioned = list(dict.fromkeys(name for _, name in spots))
    if not 1 <= len(mentioned) <= MAX_FIGURES:
        found = ", ".join(mentioned) or "nobody"
        raise _unreadable(where, found, f"1 to {MAX_FIGURES} characters by name")
    before = [name for start, name in spots if start < action.start()]
    actor = before[-1] if before else mentioned[0]
    named = (actor, *(name for name in mentioned if name != actor))

    for match in _LOOK.finditer(text):
        described = [name for start, name in spots if start < match.start()]
        look, name = match.groups(), described[-1] if described else actor
        if looks.setdefault(name, look) != look:
            colour, shape, hat = looks[name]
            raise _unreadable(where, f"{name!r} as {match[0]!r}", f"a {colour} {shape} with a {hat}, as before")

    place = _place_name(story, scene, text, where)
    if (kind := _place_kind(text, where)) and kinds.setdefault(place, kind) != kind:
        raise _unreadable(where, f"{place!r} as a {kind} place", f"a {kinds[place]} place, as before")
    verb = action[0]
    return _Sighting(
        named,
        place,
        world.CLOSE if "close" in words(f"{shot.size} {text}") and len(named) == 1 else world.WIDE,
        world.JUMP if action[1] is None else world.WALK_LEFT if verb.endswith("left") else world.WALK_RIGHT,
        _actor_left(text, named),
    )


def _actor_left(text: str, named: tuple[str, ...]) -> bool | None:
    """Whether the text puts the actor left of the other: from the sentence that puts the other on a side."""
    for sentence in text.split(" . "):
        side = _SIDE.search(sentence)
        if side and len(named) > 1 and named[1] in sentence.split():
            return side[1] == "right"
    return None


def _place_name(story: Story, scene: Scene, text: str, where: str) -> str:
    """The place a shot names, else its scene's location, else what its scene's heading says."""
    locations = {location.id: _plain(location.name) for location in story.locations}
    for name in (*world.PLACE_NAMES, *locations.values()):
        if re.search(rf"\b{re.escape(name)}\b", text):
            return name
    if scene.location:
        return locations.get(scene.location, _plain(scene.location))
    heading = re.sub(r"^(?:int|ext|est|i / e)(?: \.)? |(?: -+ .*)$", "", _plain(scene.heading))
    if not heading:
        raise _unreadable(where, "no place", "a scene heading like 'EXT. ELM HILL', or 'at elm hill' in the shot")
    return heading


def _place_kind(text: str, where: str) -> str | None:
    """The kind of place a text describes; grounds and props must be those that go with its sky."""
    sky = _SKY.search(text)
    found = {_GROUNDS_AND_PROPS[word] for word in text.split() if word in _GROUNDS_AND_PROPS}
    if sky is None and not found:
        return None
    kinds = {kind for kind, (word, _, _) in PLACE_WORDS.items() if sky and word == sky[1]} | found
    if len(kinds) > 1:
        known = "; ".join(f"{a} sky over {b} with a {c}" for a, b, c in PLACE_WORDS.values())
        raise _unreadable(where, "a place that mixes several", f"one of: {known}")
    return kinds.pop()


def _place_shots(sightings: list[_Sighting], who: list[str], places: list[str]) -> tuple[world.ToyShot, ...]:
    """Positions for all shots. Where a text leaves sides open, two characters keep the sides they had before."""
    rng = np.random.default_rng([world.STREAMS[world.GIVEN], 0])
    left_of: dict[frozenset[str], str] = {}
    shots = []
    for s in sightings:
        actor_left = True
        if len(s.named) > 1:
            both = frozenset(s.named)
            actor_left = s.actor_left if s.actor_left is not None else left_of.get(both, s.named[0]) == s.named[0]
            left_of[both] = s.named[0] if actor_left else s.named[1]
        x, travel = world.place_figures(rng, s.size, s.action, len(s.named), actor_left)
        named = tuple(who.index(name) for name in s.named)
        shots.append(world.ToyShot(named, places.index(s.place), s.size, s.action, x, travel))
    return tuple(shots)
