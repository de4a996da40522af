"""The words of level `full`: who and what is new is described, what is known is named, and what goes on is not spelled out."""

from __future__ import annotations

import functools
import re

import numpy as np

from data_pipeline.toy_cinema import captions as easy
from data_pipeline.toy_cinema import world as streams
from data_pipeline.toy_cinema.captions import END, PAD, character_words, first_seen, words
from data_pipeline.toy_cinema.full import world
from data_pipeline.toy_cinema.full.stories import LEVEL_STREAM
from data_pipeline.toy_cinema.full.world import FullPlace, FullShot, FullStory

MAX_WORDS = 64

SIZE_SENTENCES = ("{size} shot .", "a {size} shot .", "{size} shot :")
INTRODUCTIONS = ("{name} is {look} .", "this is {name} , {look} .", "here is {name} : {look} .")
ACTION_SENTENCES = ("{who} {verb} at {place}", "at {place} , {who} {verb}", "{who} {verb} here at {place}")
PLACE_SENTENCES = (" , {look} .", " : {look} .", " . {place} has {look} .")
OTHER_SENTENCES = ("on the {side} , {who} {verb} .", "{who} {verb} on the {side} .", "and on the {side} {who} {verb} .")
VERBS = {
    world.STAND: ("stands still", "waits", "does not move"),
    world.WALK_LEFT: ("walks left", "walks to the left", "goes left"),
    world.WALK_RIGHT: ("walks right", "walks to the right", "goes right"),
    world.JUMP: ("jumps", "jumps up", "jumps into the sky"),
    world.LAND: ("lands", "comes down", "falls to the ground"),
}
GOES_ON = ("goes on", "goes on as before", "does not stop")
CAMERA_SENTENCES = {
    world.STATIC: ("the camera is still .", "static camera .", ""),
    **{
        move: (f"the camera {verb}s {way} .", f"camera {verb}s {way} .", f"{verb} {way} .")
        for move in world.CAMERAS[1:]
        for verb, way in [move.split()]
    },
}


def place_words(place: FullPlace) -> str:
    return f"a {place.sky} sky over {place.ground} with a {place.prop}"


def prose(caption: str) -> str:
    """A caption with capitals and ordinary spacing, for people; `words` leads back."""
    return easy.prose(caption, (*world.NAMES, *world.PLACE_NAMES))


def story_captions(story: FullStory) -> list[str]:
    """One caption a shot, words joined by spaces.

    With two characters in the picture each is named with its shape, since pictures in memory have no names.
    """
    rng = np.random.default_rng([streams.STREAMS[story.split], story.seed, LEVEL_STREAM, story.wording])
    return [
        _caption(story, shot, rng, new, new_place)
        for shot, (new, new_place) in zip(story.shots, first_seen(story), strict=True)
    ]


def _caption(story: FullStory, shot: FullShot, rng: np.random.Generator, new: frozenset[int], new_place: bool) -> str:
    def pick(options: tuple[str, ...]) -> str:
        return options[int(rng.integers(len(options)))]

    def who(i: int) -> str:
        character = story.characters[i]
        return character.name if len(shot.characters) == 1 else f"{character.name} the {character.shape}"

    place = story.places[shot.place]
    parts = [pick(SIZE_SENTENCES).format(size=shot.size)]
    for i in sorted(new):
        character = story.characters[i]
        parts.append(pick(INTRODUCTIONS).format(name=character.name, look=character_words(character)))
    verb = pick(GOES_ON if shot.goes_on else VERBS[shot.actions[0]])
    action = pick(ACTION_SENTENCES).format(who=who(shot.characters[0]), verb=verb, place=place.name)
    if not new_place:
        action += " ."
    else:  # a description set off by a comma or colon must follow the place's name
        sentence = pick(PLACE_SENTENCES) if action.endswith(place.name) else PLACE_SENTENCES[2]
        action += sentence.format(place=place.name, look=place_words(place))
    parts.append(action)
    for i, x, does in zip(shot.characters[1:], shot.x[1:], shot.actions[1:], strict=True):
        side = "left" if x < shot.x[0] else "right"
        parts.append(pick(OTHER_SENTENCES).format(side=side, who=who(i), verb=pick(VERBS[does])))
    parts.append(pick(CAMERA_SENTENCES[shot.camera]))
    return " ".join(" ".join(parts).split())


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Padding, the end mark, then all words of captions and common function words, sorted."""
    sentences = (SIZE_SENTENCES, INTRODUCTIONS, ACTION_SENTENCES, PLACE_SENTENCES, OTHER_SENTENCES, GOES_ON)
    kinds = (world.SHAPES, world.COLOURS, world.HATS, world.SKIES, world.GROUNDS, world.PROPS, world.SIZES)
    sources = [
        *(text for group in (*sentences, *kinds, *VERBS.values(), *CAMERA_SENTENCES.values()) for text in group),
        *world.NAMES,
        *world.PLACE_NAMES,
        place_words(FullPlace("", "", "", "")),
    ]
    found = {word for text in sources for word in words(re.sub(r"\{\w+\}", " ", text))}
    return (PAD, END, *sorted(found | set(easy.FUNCTION_WORDS)))
