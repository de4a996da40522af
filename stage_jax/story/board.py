"""The board: what was drawn for a story, and out of what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from stage_jax.story.types import Scene, Shot, Story


@dataclass(frozen=True, eq=False)
class Pair:
    """The start frame and the end frame of one shot, RGB."""

    start: UInt8[np.ndarray, "height width 3"]
    end: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Reference:
    """A picture of a character that a person gave, RGB, as the model sees it. character: its id. number: which of the
    character's references it is, from 1."""

    character: str
    number: int
    picture: UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class MemoryEntry:
    """One frame in a shot's memory pack: of an earlier shot, or a reference picture of a character.

    `shot` and `which` say of which shot it is the start or end frame; of a reference, `which` says so, `shot` is empty, and
    `character` (an id) and `number` say which one it is. `rank` counts from 0, the most relevant; `area` is its share of a
    whole frame's tokens, `tokens` how many those are; `score` is what it was ranked by; `why` is for people.
    """

    shot: str
    which: Literal["start", "end", "reference"]
    rank: int
    area: float
    tokens: int
    score: float
    why: str
    character: str = ""
    number: int = 0

    @property
    def key(self) -> tuple[str, str | int]:
        """Which of `Board.pictures` it is."""
        return (self.character, self.number) if self.which == "reference" else (self.shot, self.which)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of several pairs that were drawn for a shot; they count from 1."""

    number: int
    seed: int
    pair: Pair


@dataclass(frozen=True, eq=False)
class Clip:
    """The frames of a shot, RGB: how many, and what reads them from where they are kept. A film may be larger than memory, so
    whoever wants them reads one clip after another."""

    frames: int
    read: Callable[[], UInt8[np.ndarray, "time height width 3"]]

    @classmethod
    def of(cls, frames: UInt8[np.ndarray, "time height width 3"]) -> Clip:
        """One that is kept in memory."""
        return cls(len(frames), lambda: frames)


@dataclass(frozen=True, eq=False)
class BoardShot:
    """A shot with its pair and, once it is filled, its clip.

    `caption` is what the model read, `source` who drew the pair: the storyboard model, a person who gave it, or an earlier run
    whose pair was kept. `given`: which frames of a drawn pair were there before it: a person gave them, or no cut lies between
    the shot and the one before it. `take`: the number of the candidate that the pair is; `candidates`: all of them, where
    there are several. `key`, `clip_key`: hashes of all that the pair and the clip were made from; `pack_key`: of what was
    seen of earlier shots alone. They are empty where nothing was made.
    """

    name: str
    scene: Scene
    shot: Shot
    caption: str
    seed: int
    pair: Pair
    memory: tuple[MemoryEntry, ...]
    source: Literal["step2", "given", "kept"]
    clip: Clip | None = None
    given: tuple[str, ...] = ()
    take: int = 1
    candidates: tuple[Candidate, ...] = ()
    key: str = ""
    clip_key: str = ""
    pack_key: str = ""


@dataclass(frozen=True, eq=False)
class Board:
    """All shots of a story in order. `fps` is the clips' frames a second. `references`: pictures of characters that the shots
    were drawn after."""

    story: Story
    shots: tuple[BoardShot, ...]
    fps: float
    references: tuple[Reference, ...] = ()

    def pictures(self) -> dict[tuple[str, str | int], UInt8[np.ndarray, "height width 3"]]:
        """All that a memory can hold: frames by the shot's name and "start" or "end", references by character and number."""
        frames = {(shot.name, which): getattr(shot.pair, which) for shot in self.shots for which in ("start", "end")}
        return frames | {(each.character, each.number): each.picture for each in self.references}
