"""The multi-shot memory pack (STAGE, equation 1): what the model sees of earlier pairs.

All earlier frames are ranked, and the less relevant one is, the smaller it gets (`recipes.packing`), so that the pack has a
fixed budget however long the story is. The paper ranks by CLIP similarity and does not say to what; by default a frame is
ranked by the characters and the place that it shares with the new shot (our choice: they are known exactly from the script).

Reference pictures of characters stand in the bank before the first shot (ours): as frames of no shot that show one character
and no place.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.story.types import Scene, Shot

HINTS = 4
"""Channels that tell of a memory frame whether it shows the first, second and third character that the new shot names, and
its place (our choice: the pack itself leaves open which frame shows whom)."""

NO_SHOT = -1  # the index of a reference picture's shot: before the first


@dataclasses.dataclass(frozen=True)
class BankFrame:
    """What the ranking knows of one earlier frame. shot: its index in the story. end: end frame, else start frame."""

    shot: int
    end: bool
    characters: frozenset[str]
    location: str

    @property
    def reference(self) -> bool:
        """Whether it is a reference picture of its one character, and no frame of a shot."""
        return self.shot == NO_SHOT


def reference_frame(character: str) -> BankFrame:
    """What the ranking knows of a reference picture of a character."""
    return BankFrame(shot=NO_SHOT, end=False, characters=frozenset({character}), location="")


def bank_frames(shots: Sequence[tuple[Scene, Shot]]) -> list[BankFrame]:
    """What the ranking knows of the start and end frames of these shots, in story order."""
    return [frame for index, (scene, shot) in enumerate(shots) for frame in shot_frames(index, scene, shot)]


def shot_frames(index: int, scene: Scene, shot: Shot) -> list[BankFrame]:
    """The same of the start and the end frame of one shot."""
    characters = frozenset(shot.characters)
    return [BankFrame(index, end, characters, scene.location) for end in (False, True)]


@dataclasses.dataclass(frozen=True)
class Slot:
    """One place of the pack. frame: index into the bank. hints: HINTS values, 0 or 1. score: what it was ranked by. why: in
    words, for the board."""

    frame: int
    hints: tuple[float, ...]
    score: float
    why: str


def pack(
    bank: Sequence[BankFrame],
    characters: Sequence[str],
    location: str,
    recipe: STEP2Config,
    places: int,
    scores: Float[np.ndarray, " n"] | None = None,
) -> tuple[Slot, ...]:
    """The frames that take the first of `places`: the previous end frame if the recipe has it, then anchors, then by rank.

    bank: in the order of time, reference pictures first. characters: those that the new shot names, in that order; anchors are
    the first appearances of each, in the order of naming. A reference picture is seen by the shots that name its character
    and by no others, whose pack it could only mislead; a character's first one is its anchor whatever the recipe says, since
    somebody gave it to be looked at. While there is no previous end frame, the first anchor takes its place, besides its own.
    scores: the relevance of every frame of the bank (`recipes.ranking`); None: what it shares with the shot. Of frames as
    relevant as each other the newer shot's comes first, and references come last, in the order that they were given in."""
    kept = [i for i, frame in enumerate(bank) if _may_be_seen(frame, characters, recipe)]
    if not kept or not places:
        return ()
    ends = [i for i in kept if bank[i].end]
    previous = [max(ends, key=lambda i: bank[i].shot)] if recipe.previous and ends else []
    appearances = {name: first_appearance(bank, name, kept) for name in characters}
    first = {name: i for name, i in appearances.items() if i is not None and (recipe.anchors or bank[i].reference)}
    anchors = list(dict.fromkeys(a for a in first.values() if a not in previous))
    # The model has learnt to look for the film's course in the first place and for who is who in those behind it, and a
    # place that is left empty before filled ones would break the rule that what is valid is a prefix.
    leading = previous or (anchors[:1] if recipe.previous else [])
    relevances = [relevance(frame, characters, location) for frame in bank] if scores is None else scores
    rest = [i for i in kept if i not in leading and i not in anchors]
    rest.sort(key=lambda i: (-relevances[i], -bank[i].shot, bank[i].end))
    order = (leading + anchors + rest)[:places]

    def why(i: int) -> str:
        if i in previous:
            return "previous end frame"
        if bank[i].reference:
            return f"{'first' if i in anchors else 'further'} reference of {', '.join(bank[i].characters)}"
        introduced = [name for name in characters if first.get(name) == i]
        rest = "most recent of the rest" if scores is None else f"ranked by {recipe.ranking.replace('_', ' ')}"
        return reason(bank[i], introduced, characters, location) or rest

    return tuple(Slot(i, hints(bank[i], characters, location), float(relevances[i]), why(i)) for i in order)


def fill_slots(
    chosen: Sequence[Slot], frames: Float[np.ndarray, "n c h w"], slots: int
) -> tuple[Float[np.ndarray, "slots c h w"], Bool[np.ndarray, " slots"], Float[np.ndarray, "slots k"]]:
    """A pack as the arrays of `recipes.step2.Memory`: latents, which slots hold a frame, hints. `frames` are the bank's."""
    latents = np.zeros((slots, *frames.shape[1:]), np.float32)
    valid, hinted = np.zeros(slots, bool), np.zeros((slots, HINTS), np.float32)
    for i, slot in enumerate(chosen):
        latents[i], valid[i], hinted[i] = frames[slot.frame], True, slot.hints
    return latents, valid, hinted


def _may_be_seen(frame: BankFrame, characters: Sequence[str], recipe: STEP2Config) -> bool:
    if frame.reference:
        return not frame.characters.isdisjoint(characters)
    return frame.end or not recipe.ends


def first_appearance(bank: Sequence[BankFrame], name: str, kept: Sequence[int]) -> int | None:
    """The earliest of the frames `kept` that shows a character; None if it has not appeared."""
    showing = [i for i in kept if name in bank[i].characters]
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
    """What a frame has in common with a shot; may be empty. `introduced`: those of `characters` who appear here for the first
    time."""
    shown = [name for name in characters if name in frame.characters and name not in introduced]
    parts = [f"{verb} {', '.join(names)}" for verb, names in (("first shows", introduced), ("shows", shown)) if names]
    if same_place(frame, location):
        parts.append("same place")
    return ", ".join(parts)
