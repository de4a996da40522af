"""The director by rules: a theme or a screenplay becomes a shot table, offline and the same each time.

It invents nothing. A theme's sentences are its beats; few beats are covered from afar, from the middle and close, many get a
shot each. Size, angle, movement and length of a shot are filled in where the story leaves them open.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from stage_jax.errors import InputError
from stage_jax.story.checks import MOST_SHOTS
from stage_jax.story.cinema import said
from stage_jax.story.names import ARTICLES, displayed, identity, mentioned
from stage_jax.story.types import Character, Location, Scene, Shot, Story, story_from_json, story_to_json

FEW = 4  # beats; a theme of fewer is covered three times
COVERAGE = ("long", "medium", "close-up")
SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)]*\s+")
NAME = re.compile(r"(?<![.!?…]\s)(?<!^)\b[A-Z][\w'’-]+(?:\s+[A-Z][\w'’-]+)*")  # in capitals within a sentence
SUBJECT = re.compile(r"^(?:An?|The|One)\s+((?:[a-z'’-]+\s+){1,3}?)(?=[a-z]{2,}(?:s|ed)\b)")
PLACE = re.compile(
    r"\b(?:in|at|on|by|near|through|across|under|inside|outside|into|along|over)\s+((?:the|an?)\s+(?:[a-z'’-]+\s*){1,3}?)"
    r"(?=[.,;:!?]|$|\b(?:and|where|when|while|with|that|to|of|until|as|for)\b)"
)
OPENING = re.compile(r"([A-Z][a-z'’-]+)(?=\s+(?:and\s+[A-Z]|[a-z]{2,}(?:s|ed)\b))")  # "Tom steps", "Tom and Mia"
PRONOUN = re.compile(r"\b(?:he|she|they|it|him|her|them)\b", re.IGNORECASE)
NO_NAMES = frozenset({
    "He", "She", "They", "It", "We", "You", "There", "This", "That", "Here", "One", "The", "An", "Everybody", "Everyone",
    "Nobody", "Nothing", "Something", "Somebody", "Someone", "Night", "Rain", "Snow", "Wind",
})  # fmt: skip
NO_PLACES = frozenset({
    "storm", "rain", "snow", "wind", "dark", "end", "night", "morning", "evening", "air", "way", "sun", "moon",
})  # fmt: skip
SPOKEN = 2.5  # words a second
SHORTEST, LONGEST = 2.0, 10.0  # seconds of a shot


def direct_theme(theme: str, where: str) -> Story:
    """A shot table for prose, that of a file called `where`. InputError if it says nothing, or too much."""
    beats = [" ".join(beat.split()) for beat in SENTENCE.split(theme.strip()) if beat.strip()]
    beats = [beat[0].upper() + beat[1:] for beat in beats]
    if not beats:
        raise InputError(f"{where}: found no words, expected a sentence or more")
    cast = _cast(beats)
    anyone = mentioned(who.name for who in cast)
    sizes = COVERAGE if len(beats) < FEW else ("",)
    if len(beats) * len(sizes) > MOST_SHOTS:
        raise InputError(f"{where}: found {len(beats):,} sentences, expected at most {MOST_SHOTS:,} shots")
    places, characters = dict[str, Location](), ()
    scenes: list[tuple[str, list[Shot]]] = []
    for beat in beats:
        place = _place(beat) or (scenes[-1][0] if scenes else "")
        if place and identity(place) not in places:
            places[identity(place)] = Location(identity(place), place[:1].upper() + place[1:])
        if not scenes or scenes[-1][0] != place:
            scenes.append((place, []))
        named = tuple(dict.fromkeys(identity(match[0]) for match in anyone.finditer(beat))) if anyone else ()
        characters = named or (characters if PRONOUN.search(beat) else ())  # "he" is who was there before
        for size in sizes:
            number = 10 * (len(scenes[-1][1]) + 1)
            description = f"{size.capitalize()}{'' if size == 'close-up' else ' shot'}. {beat}" if size else beat
            scenes[-1][1].append(Shot(f"SH{number:03d}", description, size=size, characters=characters))
    story = Story(
        title=beats[0].rstrip(".!?…")[:60],
        overview=" ".join(beats[:3]),
        characters=tuple(cast),
        locations=tuple(places.values()),
        scenes=tuple(
            Scene(f"SC{n:02d}", location=identity(place), shots=tuple(shots)) for n, (place, shots) in enumerate(scenes, 1)
        ),
    )
    return direct_story(story_from_json(story_to_json(story), where))


def direct_story(story: Story) -> Story:
    """The story with size, angle, movement and seconds of every shot that leaves them open."""
    scenes = []
    for scene in story.scenes:
        shots = [_directed(shot, index, scene) for index, shot in enumerate(scene.shots)]
        scenes.append(replace(scene, shots=tuple(shots)))
    return replace(story, scenes=tuple(scenes))


def _directed(shot: Shot, index: int, scene: Scene) -> Shot:
    """What the description asks for; else a scene opens from afar, whoever speaks is seen close, by turns, and the rest from
    the middle."""
    words = f"{shot.description} {shot.notes}"
    size = "long" if index == 0 and len(scene.shots) > 1 else "medium"
    if shot.dialogue and index:
        size = ("medium", "close-up")[index % 2]
    return replace(
        shot,
        size=shot.size or said("size", words) or size,
        angle=shot.angle or said("angle", words) or "eye level",
        movement=shot.movement or said("movement", words) or "static",
        seconds=shot.seconds if shot.seconds != Shot.seconds else _seconds(shot),
    )


def _seconds(shot: Shot) -> float:
    """Long enough to be read aloud, dialogue and half of the action, in half seconds."""
    words = len(shot.dialogue.split()) + len(shot.description.split()) / 2
    return min(LONGEST, max(SHORTEST, round(2 * words / SPOKEN) / 2))


def _cast(beats: Iterable[str]) -> list[Character]:
    """Names in capitals within sentences, and at the start of one ("Tom waits"); without any, whom the sentences are about
    ("An old keeper climbs")."""
    names: dict[str, Character] = {}
    for beat in beats:
        for match in NAME.finditer(beat):
            if identity(match[0]) not in ("i", "") and match[0].upper() not in ARTICLES:
                names.setdefault(identity(match[0]), Character(identity(match[0]), match[0], beat))
        first = OPENING.match(beat)
        if first and first[1] not in NO_NAMES:
            names.setdefault(identity(first[1]), Character(identity(first[1]), first[1], beat))
    if not names:
        for beat in beats:
            if match := SUBJECT.match(beat):
                who = match[1].strip()
                names.setdefault(identity(who), Character(identity(who), displayed(who), beat))
    return list(names.values())


def _place(beat: str) -> str:
    match = PLACE.search(beat)
    place = re.sub(r"^(?:the|an?)\s+", "", match[1]).strip() if match else ""
    return "" if place.split()[-1:] and place.split()[-1] in NO_PLACES else place
