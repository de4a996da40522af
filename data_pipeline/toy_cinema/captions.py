"""The words of the toy world: captions that describe once and then only name, and a closed vocabulary."""

from __future__ import annotations

import difflib
import functools
import re
import unicodedata
from typing import Any

import numpy as np

from data_pipeline.toy_cinema import world

PAD, END = "<pad>", "</s>"
MAX_WORDS = 40

# The sky, the ground and the prop of each kind of place.
PLACE_WORDS = {
    "day": ("day", "grass", "tree"),
    "night": ("night", "snow", "house"),
    "sunset": ("sunset", "sand", "cactus"),
    "cloudy": ("cloudy", "stone", "tower"),
}
FUNCTION_WORDS = (
    "a", "an", "the", "this", "that", "it", "he", "she", "they", "is", "are", "was", "and", "or", "with", "without",
    "of", "at", "in", "on", "over", "under", "above", "below", "to", "from", "into", "up", "down", "by", "for", "while",
    "then", "again", "now", "still", "here", "there", "also", "one", "two", "both", "left", "right",
    ".", ",", ";", ":", "!", "?", "'", '"', "(", ")", "-",
)  # fmt: skip
SIZE_SENTENCES = ("{size} shot .", "a {size} shot .", "{size} shot :")
INTRODUCTIONS = ("{name} is {look} .", "this is {name} , {look} .", None)  # None: said inside the action sentence
ACTION_SENTENCES = (
    "{who} {verb} at {place}",
    "at {place} , {who} {verb}",
    "{who} {verb} here at {place}",
)
PLACE_SENTENCES = (" , {look} .", " : {look} .", " . {place} has {look} .")
OTHER_SENTENCES = ("{name} stands on the {side} .", "{name} is on the {side} .", "on the {side} stands {name} .")
VERBS = {
    world.WALK_LEFT: ("walks left", "walks to the left", "goes left"),
    world.WALK_RIGHT: ("walks right", "walks to the right", "goes right"),
    world.JUMP: ("jumps", "jumps up", "jumps into the sky"),
}
_QUOTES = str.maketrans({"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-", "\u2014": "-"})


def words(text: str) -> list[str]:
    """Lower-case words of a text; every punctuation mark is a word of its own."""
    plain = unicodedata.normalize("NFKC", text).translate(_QUOTES).lower()
    return re.findall(r"\w+|[^\w\s]", plain)


def character_words(character: world.ToyCharacter) -> str:
    return f"a {character.colour} {character.shape} with a {character.hat}"


def place_words(kind: str) -> str:
    sky, ground, prop = PLACE_WORDS[kind]
    return f"a {sky} sky over {ground} with a {prop}"


def prose(caption: str, names: tuple[str, ...] = (*world.NAMES, *world.PLACE_NAMES)) -> str:
    """A caption with capitals and ordinary spacing, for people; `words` leads back."""
    text = re.sub(r"\s+([.,:;!?])", r"\1", caption)
    for name in names:
        text = re.sub(rf"\b{name}\b", name.title(), text)
    return re.sub(r"(^|[.!?:] )([a-z])", lambda m: m[1] + m[2].upper(), text)


def first_seen(story: Any) -> list[tuple[frozenset[int], bool]]:
    """For each shot of a story of any level: the characters that its caption describes, and whether it describes the place."""
    met: set[int] = set()
    visited: set[int] = set()
    told = []
    for shot in story.shots:
        told.append((frozenset(shot.characters) - met, shot.place not in visited))
        met |= set(shot.characters)
        visited.add(shot.place)
    return told


def story_captions(story: world.ToyStory) -> list[str]:
    """One caption a shot, words joined by spaces. What is new is described, what was seen before is named."""
    rng = np.random.default_rng([world.STREAMS[story.split], story.seed, story.wording])
    captions = []
    for shot, (new, new_place) in zip(story.shots, first_seen(story), strict=True):
        pick = {key: int(rng.integers(3)) for key in ("size", "who", "action", "place", "other", "verb")}
        captions.append(_caption(story, shot, pick, new, new_place))
    return captions


def _caption(
    story: world.ToyStory, shot: world.ToyShot, pick: dict[str, int], new: frozenset[int], new_place: bool
) -> str:
    actor, *others = shot.characters
    name, place = story.characters[actor].name, story.places[shot.place]
    parts = [SIZE_SENTENCES[pick["size"]].format(size=shot.size)]
    who = name
    for i in shot.characters:
        if i in new:
            look, sentence = character_words(story.characters[i]), INTRODUCTIONS[pick["who"]]
            if sentence is None and i == actor:
                who = f"{name} , {look} ,"
            else:
                sentence = sentence or INTRODUCTIONS[0]
                parts.append(sentence.format(name=story.characters[i].name, look=look))
    action = ACTION_SENTENCES[pick["action"]].format(who=who, verb=VERBS[shot.action][pick["verb"]], place=place.name)
    if not new_place:
        action += " ."
    else:  # a description set off by a comma or colon must follow the place's name
        sentence = PLACE_SENTENCES[pick["place"] if action.endswith(place.name) else 2]
        action += sentence.format(place=place.name, look=place_words(place.kind))
    parts.append(action)
    for i, x in zip(others, shot.x[1:], strict=True):
        side = "left" if x < shot.x[0] else "right"
        parts.append(OTHER_SENTENCES[pick["other"]].format(name=story.characters[i].name, side=side))
    return " ".join(" ".join(parts).split())


@functools.cache
def vocabulary() -> tuple[str, ...]:
    """Padding, the end mark, then all words of captions and common function words, sorted."""
    sources = [
        *(s for s in (*SIZE_SENTENCES, *INTRODUCTIONS, *ACTION_SENTENCES, *PLACE_SENTENCES, *OTHER_SENTENCES) if s),
        *world.NAMES,
        *world.PLACE_NAMES,
        *(place_words(kind) for kind in PLACE_WORDS),
        *(verb for verbs in VERBS.values() for verb in verbs),
        *(w for level in world.LEVELS.values() for w in (*level.shapes, *level.colours, *level.hats, *level.sizes)),
    ]
    found = {word for text in sources for word in words(re.sub(r"\{\w+\}", " ", text))}
    return (PAD, END, *sorted(found | set(FUNCTION_WORDS)))


def unknown_words(text: str) -> tuple[str, ...]:
    """Words of a text that the tiny models do not know, each once, in order."""
    known = set(vocabulary())
    return tuple(dict.fromkeys(word for word in words(text) if word not in known))


def nearest(word: str, count: int = 3) -> tuple[str, ...]:
    """Known words that are spelled most like a word, best first; may be empty."""
    known = [w for w in vocabulary()[2:] if w[0].isalnum()]
    return tuple(difflib.get_close_matches(word.lower(), known, n=count, cutoff=0.5))
