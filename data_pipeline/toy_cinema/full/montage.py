"""Shots joined into one film by cuts, dissolves and fades, and where each of them truly is."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

CUT, DISSOLVE, FADE = "cut", "dissolve", "fade"
Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True)
class Join:
    """How a shot follows the one before it. frames: how many are mixed (each way, for a fade). hold: black frames of a fade."""

    kind: str = CUT
    frames: int = 0
    hold: int = 0


def spans(lengths: Sequence[int], joins: Sequence[Join]) -> list[tuple[int, int]]:
    """First and last frame of each shot in the film, without the frames that are mixed. lengths: of the shots, those included;
    joins: one fewer."""
    found, first = [], 0
    for length, before, after in zip(lengths, [Join(), *joins], [*joins, Join()], strict=True):
        found.append((first + before.frames, first + length - 1 - after.frames))
        first += length + (after.hold if after.kind == FADE else -after.frames)
    return found


def joined(clips: Iterable[Iterator[Frame]], lengths: Sequence[int], joins: Sequence[Join]) -> Iterator[Frame]:
    """The frames of the film. clips: those of each shot, as many as `lengths` says."""
    tail: list[Frame] = []
    for clip, length, before, after in zip(clips, lengths, [Join(), *joins], [*joins, Join()], strict=True):
        for i in range(before.frames):
            share, frame = (i + 1) / (before.frames + 1), next(clip)
            yield _mixed(tail[i] if before.kind == DISSOLVE else np.zeros_like(frame), frame, share)
        yield from itertools.islice(clip, length - before.frames - after.frames)
        tail = list(itertools.islice(clip, after.frames))
        if after.kind == FADE:
            for i, frame in enumerate(tail):
                yield _mixed(frame, np.zeros_like(frame), (i + 1) / (after.frames + 1))
            yield from itertools.repeat(np.zeros_like(tail[0]), after.hold)


def _mixed(one: Frame, other: Frame, share: float) -> Frame:
    return np.rint(one * (1 - share) + other * share).astype(np.uint8)
