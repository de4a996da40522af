"""What models learn from: a story with the pictures of its shots, and pairs that people or rules found worse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from stage_jax.story.board import Pair
from stage_jax.story.types import Story


@dataclass(frozen=True, eq=False)
class Preference:
    """Of two pairs of one shot, the chosen and the rejected one (DPO). shot: its index in the story. why: what the rejected
    one does wrong, as far as it is known."""

    shot: int
    chosen: Pair
    rejected: Pair
    why: str = ""


@dataclass(frozen=True, eq=False)
class Example:
    """A story with the pair of every shot. interior: frames between them, for each shot, as many as there are.
    source and licence: of the pictures. references: as many pictures of each of the story's characters as of any other, in
    their order. masks: of every start and end frame, in story order, where its characters are (`masks`); none where nobody
    knows."""

    story: Story
    pairs: tuple[Pair, ...]
    interior: tuple[tuple[UInt8[np.ndarray, "_ _ 3"], ...], ...] = ()
    preferences: tuple[Preference, ...] = ()
    source: str = ""
    licence: str = ""
    references: tuple[UInt8[np.ndarray, "_ _ 3"], ...] = ()
    masks: tuple[UInt8[np.ndarray, "_ _"], ...] = ()
