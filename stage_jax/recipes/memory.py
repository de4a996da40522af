"""The multi-shot memory pack (STAGE, equation 1): what the model sees of earlier pairs.

The previous end frame comes in full. All other earlier frames are ranked, and the j-th gets 1/2^j of a frame's area, so
that together they never reach one frame, however long the story is. The paper ranks by CLIP similarity and does not say
to what; here a frame is ranked by the characters and the place that it shares with the new shot (our choice: they are
known exactly from the script).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from stage_jax.story.types import Scene, Shot

HINTS = 4
"""Channels that tell of a memory frame whether it shows the first, second and third character that the new shot names, and
its place (our choice: the pack itself leaves open which frame shows whom)."""


@dataclasses.dataclass(frozen=True)
class BankFrame:
    """What the ranking knows of one earlier frame. shot: its index in the story. end: end frame, else start frame."""

    shot: int
    end: bool
    characters: frozenset[str]
    location: str


def bank_frames(shots: Sequence[tuple[Scene, Shot]]) -> list[BankFrame]:
    """What the ranking knows of the start and end frames of these shots, in story order."""
    return [
        BankFrame(shot=i, end=end, characters=frozenset(shot.characters), location=scene.location)
        for i, (scene, shot) in enumerate(shots)
        for end in (False, True)
    ]


@dataclasses.dataclass(frozen=True)
class Slot:
    """One place of the pack. frame: index into the bank. hints: HINTS values, 0 or 1. score: its `relevance`. why: in words,
    for the board."""

    frame: int
    hints: tuple[float, ...]
    score: float
    why: str


def slot_sizes(height: int, width: int) -> tuple[tuple[int, int], ...]:
    """Latent sizes of the ranked slots for frames of `height` x `width` latents: sides times 2^(-j/2), rounded to even, as
    the paper's areas 1/2^j. Frames under 2x2 latents are left out, and those that would bring the sum to a whole frame."""
    sizes: list[tuple[int, int]] = []
    used, j = 0, 1
    while min(height, width) * 2 ** (-j / 2) >= 2 - 1e-9:
        size = tuple(max(2, 2 * round(side * 2 ** (-j / 2) / 2)) for side in (height, width))
        if used + math.prod(size) < height * width:
            sizes.append(size)
            used += math.prod(size)
        j += 1
    return tuple(sizes)


def pack(bank: Sequence[BankFrame], characters: Sequence[str], location: str, slots: int) -> tuple[Slot, ...]:
    """The previous end frame, then up to `slots` ranked ones. `characters` are those that the new shot names, in that order;
    the first appearance of each stands before all others, in the order of naming."""
    if not bank:
        return ()
    ends = [i for i, frame in enumerate(bank) if frame.end]
    previous = max(ends, key=lambda i: bank[i].shot)
    first = {name: a for name in characters if (a := first_appearance(bank, name)) is not None}
    anchors = list(dict.fromkeys(a for a in first.values() if a != previous))
    rest = [i for i in range(len(bank)) if i != previous and i not in anchors]
    rest.sort(key=lambda i: (-relevance(bank[i], characters, location), -bank[i].shot, bank[i].end))
    order = (anchors + rest)[:slots]
    introduced = [[name for name in characters if first.get(name) == i] for i in order]
    reasons = ["previous end frame"]
    reasons += [reason(bank[i], new, characters, location) for i, new in zip(order, introduced, strict=True)]
    chosen = (previous, *order)
    return tuple(
        Slot(i, hints(bank[i], characters, location), relevance(bank[i], characters, location), why)
        for i, why in zip(chosen, reasons, strict=True)
    )


def fill_slots(
    chosen: Sequence[Slot], frames: Float[np.ndarray, "n c h w"], slots: int
) -> tuple[Float[np.ndarray, "slots c h w"], Bool[np.ndarray, " slots"], Float[np.ndarray, "slots k"]]:
    """A pack as the arrays of `recipes.step2.Memory`: latents, which slots hold a frame, hints. `frames` are the bank's."""
    latents = np.zeros((slots, *frames.shape[1:]), np.float32)
    valid, hinted = np.zeros(slots, bool), np.zeros((slots, HINTS), np.float32)
    for i, slot in enumerate(chosen):
        latents[i], valid[i], hinted[i] = frames[slot.frame], True, slot.hints
    return latents, valid, hinted


def first_appearance(bank: Sequence[BankFrame], name: str) -> int | None:
    """The earliest frame that shows a character; None if it has not appeared."""
    showing = [i for i, frame in enumerate(bank) if name in frame.characters]
    return min(showing, key=lambda i: (bank[i].shot, bank[i].end), default=None)


def relevance(frame: BankFrame, characters: Sequence[str], location: str) -> float:
    """Shared characters and place, a little less for strangers in the frame."""
    shared = len(frame.characters & set(characters))
    strangers = len(frame.characters - set(characters))
    return shared / max(len(characters), 1) + same_place(frame, location) - 0.25 * strangers


def hints(frame: BankFrame, characters: Sequence[str], location: str) -> tuple[float, ...]:
    shown = [float(name in frame.characters) for name in characters[: HINTS - 1]]
    return (*shown, *[0.0] * (HINTS - 1 - len(shown)), float(same_place(frame, location)))


def same_place(frame: BankFrame, location: str) -> bool:
    """Whether a frame is known to show a location: scenes without one (an empty id) share none."""
    return location != "" and frame.location == location


def reason(frame: BankFrame, introduced: Sequence[str], characters: Sequence[str], location: str) -> str:
    """Why a frame is in the pack. `introduced`: those of `characters` who appear here for the first time."""
    shown = [name for name in characters if name in frame.characters and name not in introduced]
    parts = [f"{verb} {', '.join(names)}" for verb, names in (("first shows", introduced), ("shows", shown)) if names]
    if same_place(frame, location):
        parts.append("same place")
    return ", ".join(parts) or "most recent of the rest"
