"""Shots that a film shows twice, such as in its trailer, its titles or its recap."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from jaxtyping import UInt8

SIZE = (16, 9)  # cells, width and height
ALIKE = 8  # grey levels of 255 that no cell differs by, in any colour
MOST = 1000  # shots that are looked back on


def signature(picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "9 16 3"]:
    """Means over the cells of a picture."""
    return cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)


class Seen:
    """The signatures of earlier shots, the last 1000 of them."""

    def __init__(self) -> None:
        self._shots: deque[tuple[int, np.ndarray]] = deque(maxlen=MOST)

    def same(self, index: int, pictures: UInt8[np.ndarray, "pictures 9 16 3"]) -> int | None:
        """The index of an earlier shot whose pictures are the same but for noise; a shot that has none is remembered."""
        if self._shots:
            earlier = np.stack([other for _, other in self._shots]).astype(np.int16)
            worst = np.abs(earlier - pictures).reshape(len(earlier), -1).max(axis=1)
            if worst.min() <= ALIKE:
                return self._shots[int(worst.argmin())][0]
        self._shots.append((index, pictures))
        return None
