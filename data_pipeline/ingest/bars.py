"""Letterbox and pillarbox: black bars at two opposite sides of the picture."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8

from data_pipeline.ingest.shots import Bars

BLACK = 28  # grey levels of 255 at most; black is 16 where a film uses the range of broadcasts
STRAY = 0.02  # part of a row that may be lighter: what a codec smears over the edge
UNEVEN = 0.02  # of the side, by which two opposite bars may differ
WIDEST = 0.4  # of the side; more is a dark picture


def bars_of(grey: UInt8[np.ndarray, "height width"]) -> Bars | None:
    """The bars of one picture, none of any width if it has none; None if it is black all over and tells nothing."""
    light = grey > BLACK
    top, bottom = _ends(light.mean(axis=1))
    left, right = _ends(light.mean(axis=0))
    if top == len(grey):
        return None
    return Bars(*_pair(top, bottom, len(grey)), *_pair(left, right, grey.shape[1]))


def narrowest(one: Bars, other: Bars) -> Bars:
    """What is black in both: in a dark picture more than the bars is."""
    return Bars(*(min(getattr(one, side), getattr(other, side)) for side in ("top", "bottom", "left", "right")))


def without_bars(picture: UInt8[np.ndarray, "height width *colours"], bars: Bars) -> UInt8[np.ndarray, "h w *colours"]:
    """What is inside the bars."""
    height, width = picture.shape[:2]
    return picture[bars.top : height - bars.bottom, bars.left : width - bars.right]


def _ends(light: np.ndarray) -> tuple[int, int]:
    """How many rows are black at the beginning, and at the end."""
    lines = np.flatnonzero(light > STRAY)
    return (int(lines[0]), len(light) - 1 - int(lines[-1])) if len(lines) else (len(light), len(light))


def _pair(one: int, other: int, side: int) -> tuple[int, int]:
    even = abs(one - other) <= UNEVEN * side and min(one, other) > 0 and max(one, other) <= WIDEST * side
    return (one, other) if even else (0, 0)
