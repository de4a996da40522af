"""Who a screenplay's action speaks of: names in capitals where somebody first appears, any case after that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

# Capitals that name nobody: the camera's words, sounds that stand alone, and the screenwriter's shorthand.
TERMS = frozenset({
    "ANGLE", "BACK", "BEAT", "CAMERA", "CLOSE", "CLOSEUP", "CONTINUED", "CREDITS", "CUT", "DISSOLVE", "DOLLY",
    "END", "EXT", "EXTREME", "FADE", "FAVOR", "FLASHBACK", "FRAME", "INSERT", "INT", "INTERCUT", "LATER", "LONG",
    "LS", "MATCH", "MEDIUM", "MONTAGE", "MOS", "MOVING", "OC", "OK", "OMITTED", "OS", "OTS", "PAN", "POV", "PULL",
    "PUSH", "REVEAL", "REVERSE", "SERIES", "SFX", "SHOT", "SLOW", "SMASH", "SPLIT", "STOCK", "SUPER", "TILT",
    "TITLE", "TRACKING", "TV", "UK", "US", "USA", "VFX", "VO", "WIDE", "ZOOM",
})  # fmt: skip
ARTICLES = frozenset({"A", "AN", "THE"})
UPPER = "A-Z\u00c0-\u00de"  # with Latin-1's accents
CAPITALS = re.compile(rf"(?<!\w)[{UPPER}][{UPPER}0-9'’.-]*(?:\s+[{UPPER}0-9][{UPPER}0-9'’-]*)*(?!\w)")
SENTENCE_END = re.compile(rf"(?<=[.!?])[\"'”’)]*\s+(?=[\"'“‘(]?[{UPPER}0-9])")


def identity(name: str) -> str:
    """What a name is known by, whatever its case and punctuation: "OLD TOM" and "Old Tom" are old_tom."""
    return re.sub(r"\W+", "_", name.casefold()).strip("_")


def displayed(name: str) -> str:
    """A name in capitals as people write it; others (McCLANE) stay as they are."""
    return re.sub(r"[^\W\d_]+(?:['’][^\W\d_]+)?", lambda m: m[0].capitalize(), name) if name == name.upper() else name


def introductions(text: str, cues: Iterable[str] = ()) -> Iterator[tuple[str, str]]:
    """Names in capitals in a paragraph of action, each with the sentence it stands in.

    `cues` are the identities of those who speak: they are names for certain. Others are names unless they look like a
    sound or a stressed verb ("The door SLAMS shut", "BANG!"). A paragraph all in capitals introduces nobody.
    """
    known = set(cues)
    if text == text.upper():
        return
    for sentence in SENTENCE_END.split(text):
        for match in CAPITALS.finditer(sentence):
            words = match[0].strip(".-' ").split()
            while words and words[0] in ARTICLES:
                words = words[1:]
            name = " ".join(words)
            if identity(name) in known or (words and _is_name(words, sentence, match)):
                yield name, sentence


def mentioned(names: Iterable[str]) -> re.Pattern[str] | None:
    """A pattern that finds any of `names` in text, whatever the case, the longest that fits."""
    longest_first = sorted({name.casefold() for name in names}, key=lambda name: (-len(name), name))
    if not longest_first:
        return None
    choices = "|".join(r"\s+".join(map(re.escape, name.split())) for name in longest_first)
    return re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE)


def _is_name(words: list[str], sentence: str, match: re.Match[str]) -> bool:
    if any(word.strip(".") in TERMS for word in words) or sum(c.isalpha() for c in words[0]) < 2:
        return False
    before, after = sentence[: match.start()].rstrip(), sentence[match.end() :].lstrip()
    if after.startswith(("!", ":")):
        return False
    introduced = not before or after.startswith((",", "(")) or before.endswith(",") or len(words) > 1
    return introduced or not words[-1].endswith(("S", "ED", "ING"))
