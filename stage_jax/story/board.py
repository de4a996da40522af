"""The board: what was drawn for a story, and out of what."""

from __future__ import annotations

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


@dataclass(frozen=True)
class MemoryEntry:
    """One earlier frame in a shot's memory pack.

    `rank` counts from 0, the most relevant; `area` is its share of a whole frame's tokens, `tokens` how many those are;
    `score` is what it was ranked by; `why` is for people.
    """

    shot: str
    which: Literal["start", "end"]
    rank: int
    area: float
    tokens: int
    score: float
    why: str


@dataclass(frozen=True, eq=False)
class Candidate:
    """One of several pairs that were drawn for a shot; they count from 1."""

    number: int
    seed: int
    pair: Pair


@dataclass(frozen=True, eq=False)
class BoardShot:
    """A shot with its pair and, once it is filled, its clip.

    `caption` is what the model read, `source` who drew the pair: the storyboard model, a person who gave it, or an earlier run
    whose pair was kept. `given`: which frames of a drawn pair a person gave. `take`: the number of the candidate that the
    pair is; `candidates`: all of them, where there are several. `key`, `clip_key`: hashes of all that the pair and the clip
    were made from; `pack_key`: of the memory alone. They are empty where nothing was made.
    """

    name: str
    scene: Scene
    shot: Shot
    caption: str
    seed: int
    pair: Pair
    memory: tuple[MemoryEntry, ...]
    source: Literal["step2", "given", "kept"]
    clip: UInt8[np.ndarray, "time height width 3"] | None = None
    given: tuple[str, ...] = ()
    take: int = 1
    candidates: tuple[Candidate, ...] = ()
    key: str = ""
    clip_key: str = ""
    pack_key: str = ""


@dataclass(frozen=True, eq=False)
class Board:
    """All shots of a story in order. `fps` is the clips' frames a second."""

    story: Story
    shots: tuple[BoardShot, ...]
    fps: float
