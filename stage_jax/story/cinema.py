"""What the sentences of a screenplay ask of the camera, in the words of the vocabulary."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

# Of each attribute of a shot: patterns, and what is meant where one is found. The first one counts.
SAID: Mapping[str, Sequence[tuple[str, str]]] = {
    "size": (
        (r"extreme close|\becu\b|macro", "extreme close-up"),
        (r"close[- ]?up|close shot|close on|\bcu\b|angle on|insert", "close-up"),
        (r"medium long", "medium long"),
        (r"medium|\bms\b|waist|two[- ]shot", "medium"),
        (r"full shot|full[- ]length|head to toe", "full"),
        (r"wide|long shot|\bls\b|establishing|panorama|aerial|vista", "long"),
    ),
    "angle": (
        (r"bird'?s[- ]eye|overhead|from above|top[- ]down|aerial", "bird's eye"),
        (r"high angle|looking down", "high"),
        (r"low angle|from below|looking up", "low"),
        (r"dutch|tilted|canted", "tilted"),
    ),
    "movement": (
        (r"pans? (?:to the )?left", "pan left"),
        (r"pans? (?:to the )?right|\bpans\b", "pan right"),
        (r"tilts? up", "tilt up"),
        (r"tilts? down", "tilt down"),
        (r"zooms? out", "zoom out"),
        (r"zooms?", "zoom in"),
        (r"pull(?:s|ing)? (?:back|out)|dolly out", "dolly out"),
        (r"push(?:es|ing)? in|dolly|move(?:s|ing)? in on", "dolly in"),
        (r"camera (?:tracks|follows)|tracking|steadicam", "tracking"),
        (r"handheld|hand-held", "handheld"),
    ),
}


def said(attribute: str, text: str) -> str:
    """What a text asks for; empty if nothing. attribute: a key of `SAID`."""
    return next((word for pattern, word in SAID[attribute] if re.search(pattern, text, re.IGNORECASE)), "")
