"""The closed vocabulary of a shot's camera: its size, its angle and its movement.

Sizes and angles are those of ViStoryBench's judge; movements are ours, the first seven those that `stage data ingest` can
measure from the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

SIZES = ("extreme close-up", "close-up", "medium", "medium long", "full", "long")
ANGLES = ("eye level", "low", "high", "bird's eye", "tilted", "perspective compression")
MOVEMENTS = (
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out",
    "dolly in", "dolly out", "tracking", "crane up", "crane down", "handheld",
)  # fmt: skip
VOCABULARY: Mapping[str, tuple[str, ...]] = {"size": SIZES, "angle": ANGLES, "movement": MOVEMENTS}
"""The words that each attribute of a shot may have."""

_OTHER_WORDS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "size": {
        "extreme close-up": ("ecu", "xcu", "big close up", "macro"),
        "close-up": ("cu", "close", "closeup", "mcu", "medium close up"),
        "medium": ("ms", "mid"),
        "medium long": ("mls", "cowboy", "american", "medium wide", "medium full"),
        "full": ("fs",),
        "long": ("ls", "ws", "wide", "extreme long", "els", "extreme wide", "establishing"),
    },
    "angle": {
        "eye level": ("eye", "neutral", "straight on"),
        "low": ("from below",),
        "high": ("from above",),
        "bird's eye": ("birds eye", "overhead", "top down", "aerial"),
        "tilted": ("dutch", "canted"),
        "perspective compression": ("telephoto",),
    },
    "movement": {
        "static": ("fixed", "still", "locked off", "no movement", "stationary"),
        "dolly in": ("push in", "truck in"),
        "dolly out": ("pull out", "pull back", "push out", "truck out"),
        "tracking": ("track", "follow", "following"),
        "crane up": ("pedestal up", "boom up"),
        "crane down": ("pedestal down", "boom down"),
        "handheld": ("hand held", "shaky"),
    },
}
"""What people write instead. A medium close-up, which the six sizes lack, counts as a close-up (our choice)."""
_TAIL = re.compile(r" (?:shot|angle|view|level angle|camera)$")


def in_vocabulary(attribute: str, words: str) -> str | None:
    """The word of the vocabulary that `words` mean, in whatever spelling; None if it has none. attribute: a key of
    `VOCABULARY`."""
    plain = _plain(words)
    return next((word for word in VOCABULARY[attribute] if plain in _spellings(attribute, word)), None)


def _plain(words: str) -> str:
    spaced = " ".join(re.sub(r"[-_/]", " ", words.lower().replace("’", "'")).split())
    return _TAIL.sub("", spaced)


def _spellings(attribute: str, word: str) -> set[str]:
    return {_plain(word), *(_OTHER_WORDS[attribute].get(word, ()))}
