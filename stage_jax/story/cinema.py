"""The words for cameras, and what a screenplay's sentences say about them.

Sizes and angles are those by which ViStoryBench judges pictures.
"""

from __future__ import annotations

import difflib
import re

SIZES = ("long shot", "full shot", "medium long shot", "medium shot", "close-up", "extreme close-up")
ANGLES = ("eye level", "low angle", "high angle", "bird's eye", "tilted", "over the shoulder")
MOVEMENTS = (
    "static", "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", "dolly in", "dolly out", "tracking",
)  # fmt: skip

# The first pattern that is found in a text says what it asks for.
SAID_SIZES = (
    (r"extreme close|\becu\b|macro", "extreme close-up"),
    (r"close[- ]?up|close shot|close on|\bcu\b|angle on|insert", "close-up"),
    (r"medium long", "medium long shot"),
    (r"medium|\bms\b|waist|two[- ]shot", "medium shot"),
    (r"full shot|full[- ]length|head to toe", "full shot"),
    (r"wide|long shot|\bls\b|establishing|panorama|aerial|vista", "long shot"),
)
SAID_ANGLES = (
    (r"bird'?s[- ]eye|overhead|from above|top[- ]down|aerial", "bird's eye"),
    (r"high angle|looking down", "high angle"),
    (r"low angle|from below|looking up", "low angle"),
    (r"dutch|tilted|canted", "tilted"),
    (r"over[- ]the[- ]shoulder|\bots\b", "over the shoulder"),
)
SAID_MOVEMENTS = (
    (r"pans? (?:to the )?left", "pan left"),
    (r"pans? (?:to the )?right|\bpans\b", "pan right"),
    (r"tilts? up", "tilt up"),
    (r"tilts? down", "tilt down"),
    (r"zooms? out", "zoom out"),
    (r"zooms?", "zoom in"),
    (r"pull(?:s|ing)? (?:back|out)|dolly out", "dolly out"),
    (r"push(?:es|ing)? in|dolly|move(?:s|ing)? in on", "dolly in"),
    (r"track|follow|steadicam", "tracking"),
)


def said(text: str, table: tuple[tuple[str, str], ...]) -> str:
    """What a text asks for by a table of these; empty if nothing."""
    return next((word for pattern, word in table if re.search(pattern, text, re.IGNORECASE)), "")


def nearest(word: str, known: tuple[str, ...]) -> str:
    """The known word that is meant; empty if it is none ("Wide Shot" -> "long shot", "medium-shot" -> "medium shot")."""
    plain = " ".join(word.casefold().replace("-", " ").split())
    spelt = {known_word.replace("-", " "): known_word for known_word in known}
    found = difflib.get_close_matches(plain, spelt, n=1, cutoff=0.8)
    if found:
        return spelt[found[0]]
    tables = {SIZES: SAID_SIZES, ANGLES: SAID_ANGLES, MOVEMENTS: SAID_MOVEMENTS}
    return said(word, tables[known])
