"""Dissolves and fades: stretches of frames that are mixed from the picture before them and the picture after them."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from data_pipeline.ingest.cuts import changed_part

SCALES = (1 / 6, 1 / 3, 2 / 3, 4 / 3)  # seconds over which mixing is looked for
LONGEST = 3.0  # seconds of a dissolve
SETTLED = 1 / 3  # seconds without mixing, after which it is over
MIXED = 4.0  # grey levels of 255 that mixing changes at least, in the mean
STRAY = 0.12  # of the squared change: how far from the straight line between the ends a mixed picture lies at most
# The shares of the later picture at a quarter, half and three quarters of the way; a straight line has .25, .5, .75.
SHARES = ((0.05, 0.5), (0.25, 0.75), (0.5, 0.95))
STILL = 0.35  # of the mean change a frame: less is what moves in the pictures
CHANGED, PART = 16.0, 0.3  # levels by which this part of the picture changes; a title that fades in changes less of it
ALIKE = 0.6  # correlation of two pictures of one place, whatever has moved in it
BLANK = 10.0  # grey levels: standard deviation within a picture that shows nothing, or hardly anything

Tiny = Float32[np.ndarray, "rows columns 3"]


@dataclass(frozen=True)
class Mixed:
    """The last frame before the mixing and the first after it, and whether either shows nothing, as in a fade."""

    last: int
    first: int
    from_blank: bool = False
    to_blank: bool = False


class Fades:
    """Fed frame by frame; a fade is known at most `delay` frames after it has begun. rate: frames a second."""

    def __init__(self, rate: float) -> None:
        self._scales = sorted({max(round(scale * rate), 4) for scale in SCALES})
        self._settled = max(round(SETTLED * rate), 3)
        self._longest = round(LONGEST * rate)
        self.delay = self._longest + self._settled
        self._tiny: deque[Tiny] = deque(maxlen=2 * self.delay)
        self._count = 0
        self._best: tuple[float, int, int] | None = None  # how much the mixing changes, and between which frames
        self._seen = 0  # the last frame that mixing was seen at

    def push(self, tiny: Tiny) -> list[Mixed]:
        self._tiny.append(tiny)
        self._count += 1
        found: list[Mixed] = []
        for scale in self._scales:
            change = self._mixing(self._count - 1 - scale, self._count - 1)
            if change:
                if self._best and self._turns_back(self._count - 1 - scale):
                    found += self.close()
                self._seen = self._count
                if self._best is None or change > self._best[0]:
                    self._best = change, self._count - 1 - scale, self._count - 1
        if self._best and (self._count - self._seen >= self._settled or self._count - self._best[1] >= self._longest):
            found += self.close()
        return found

    def close(self) -> list[Mixed]:
        """What mixing there was until now, as the end of the film asks."""
        found = self._resolved(*self._best[1:]) if self._best else []
        self._best = None
        return found

    def _at(self, index: int) -> Tiny:
        return self._tiny[index - self._count]

    def _turns_back(self, first: int) -> bool:
        """Whether the picture now goes back the way it went, as where a fade in follows a fade out."""
        begin, end = self._best[1:]
        return float(np.vdot(self._at(end) - self._at(begin), self._at(self._count - 1) - self._at(first))) < 0

    def _mixing(self, first: int, last: int) -> float:
        """How many grey levels the picture changes by mixing alone from `first` to `last`; 0 if that is not how it changes."""
        if first < max(self._count - len(self._tiny), 0):
            return 0.0
        start, way = self._at(first), self._at(last) - self._at(first)
        length, change = float(np.vdot(way, way)), float(cv2.norm(way, cv2.NORM_L1)) / way.size
        if change < MIXED:
            return 0.0
        for quarter, (low, high) in zip((1, 2, 3), SHARES, strict=True):
            gone = self._at(first + round(quarter * (last - first) / 4)) - start
            share = float(np.vdot(gone, way)) / length
            if not low <= share <= high or float(np.vdot(gone, gone)) / length - share**2 > STRAY:
                return 0.0
        return change

    def _resolved(self, first: int, last: int) -> list[Mixed]:
        """The whole of the mixing that goes on between two frames: how far it goes on beyond them on either side."""
        start, way = self._at(first), self._at(last) - self._at(first)
        oldest = max(self._count - len(self._tiny), last - self._longest, 0)
        shares = [float(np.vdot(self._at(i) - start, way)) for i in range(oldest, self._count)]
        still = STILL * float(np.vdot(way, way)) / (last - first)
        begin, end = first, last
        while begin > oldest and shares[begin - oldest] - shares[begin - 1 - oldest] > still:
            begin -= 1
        while end + 1 < self._count and shares[end + 1 - oldest] - shares[end - oldest] > still:
            end += 1
        while begin < first and shares[begin + 1 - oldest] - shares[begin - oldest] <= still:
            begin += 1
        if not self._mixing(begin, end):  # what moves before or after it has been taken for more of it
            begin, end = first, last
        before, after = self._at(begin), self._at(end)
        blank = [float(picture.std(axis=(0, 1)).mean()) < BLANK for picture in (before, after)]
        if not any(blank) and (changed_part(before, after, CHANGED) < PART or _correlation(before, after) > ALIKE):
            return []
        return [Mixed(begin, end, *blank)]


def _correlation(one: Tiny, other: Tiny) -> float:
    one, other = one - one.mean(axis=(0, 1)), other - other.mean(axis=(0, 1))
    return float(np.vdot(one, other) / max(np.sqrt(np.vdot(one, one) * np.vdot(other, other)), 1e-6))
