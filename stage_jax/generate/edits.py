"""What a person has decided about a board besides its story, and what earlier runs left of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8

from stage_jax.generate.shelf import Shelf
from stage_jax.story.board import Pair, Reference


@dataclass(frozen=True, eq=False)
class Edits:
    """Shots go by their names, pictures have the models' size.

    shelf: finished work. given: frames that a person gives, by shot and "start" or "end"; where it is one of the two, the model
    draws the other to it. kept: pairs that stay, whatever else changes. earlier: the `BoardShot.pack_key` and the pair of
    shots that stay unless what they remember changes. afresh: shots that are drawn even if the shelf has them. candidates: how
    many pairs of each shot are drawn. takes: which of them the shot's pair is, if not the first. references: pictures of
    characters, for the shots that name them; each character's in the order that they were given in.
    """

    shelf: Shelf | None = None
    given: Mapping[tuple[str, str], UInt8[np.ndarray, "h w 3"]] = field(default_factory=dict)
    kept: Mapping[str, Pair] = field(default_factory=dict)
    earlier: Mapping[str, tuple[str, Pair]] = field(default_factory=dict)
    afresh: frozenset[str] = frozenset()
    candidates: int = 1
    takes: Mapping[str, int] = field(default_factory=dict)
    references: Sequence[Reference] = ()

    def numbers(self, name: str) -> list[int]:
        """The candidates of a shot that are drawn."""
        take = self.takes.get(name, 1)
        return [take] if self.candidates == 1 else sorted({take, *range(1, self.candidates + 1)})
