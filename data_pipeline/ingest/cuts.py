"""Hard cuts: PySceneDetect proposes them, what comes before and after decides."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

WINDOW = 2  # frames on either side that a cut has to stand out from
# A cut is proposed where the difference of two frames is at least LEAST (of 255) and RATIO times that of the frames around.
# RATIO is the value that PySceneDetect ships; its LEAST is 15, which may miss cuts between two shots of one place.
LEAST, RATIO = 6.0, 3.0
PLAIN = 15.0  # from here on a cut needs only to be TWICE the motion around it, else WEAK times that
TWICE, WEAK = 2.0, 4.0
CHANGED, PART = 16.0, 0.05  # levels by which this part of the picture changes: a sharper key frame changes all of it by less
AROUND = 0.5  # seconds on either side whose motion counts
QUANTILE = 0.75  # of that motion: pictures shown three times, as animation does, are still for two frames of three
FLASH = 0.5  # seconds within which a picture that comes back was only interrupted
BACK = 0.4  # of the cut's difference: what comes back differs less

Tiny = Float32[np.ndarray, "rows columns 3"]


class Cuts:
    """Fed frame by frame; a cut is known `delay` frames after it. rate: frames a second."""

    def __init__(self, rate: float) -> None:
        self.delay = max(round(max(AROUND, FLASH) * rate), WINDOW + 1)
        self._rate = rate
        self._detector = AdaptiveDetector(
            adaptive_threshold=RATIO, min_content_val=LEAST, window_width=WINDOW, min_scene_len=0, luma_only=True
        )
        self._tiny: deque[Tiny] = deque(maxlen=2 * self.delay + 2)
        self._proposed: deque[int] = deque()
        self._count = 0

    def push(self, small: UInt8[np.ndarray, "height width 3"], tiny: Tiny) -> list[int]:
        """The cuts, each the first frame of a shot, that are known with this frame."""
        self._tiny.append(tiny)
        time = FrameTimecode(self._count, fps=self._rate)
        self._proposed += [cut.frame_num for cut in self._detector.process_frame(time, side_by_side(small))]
        self._count += 1
        return self._decided(self._count - self.delay)

    def close(self) -> list[int]:
        """The cuts that are left at the end of the film."""
        return self._decided(self._count)

    def _decided(self, before: int) -> list[int]:
        found = []
        while self._proposed and self._proposed[0] < before:
            cut = self._proposed.popleft()
            if self._confirmed(cut):
                found.append(cut)
        return found

    def _confirmed(self, cut: int) -> bool:
        first = self._count - len(self._tiny)
        frames, at = list(self._tiny), cut - first
        low, high = max(at - self.delay, 0), min(at + self.delay, len(frames))
        steps = np.array([_difference(frames[i], frames[i - 1]) for i in range(low + 1, high)])
        here = steps[at - low - 1]
        around = np.quantile(np.delete(steps, at - low - 1), QUANTILE) if len(steps) > 1 else 0.0
        if here < (TWICE if here >= PLAIN else WEAK) * around or changed_part(frames[at - 1], frames[at], CHANGED) < PART:
            return False
        # A flash begins where the picture before it comes back, and ends where the picture after it was there already.
        begins = any(_difference(frames[i], frames[at - 1]) < BACK * here for i in range(at + 1, high))
        ends = any(_difference(frames[i], frames[at]) < BACK * here for i in range(low, at - 1))
        return not (begins or ends)


def side_by_side(small: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width3 3"]:
    """R, G and B side by side as one grey picture.

    The detector's score of its brightness (HSV's V) is then the mean difference over all three colours. Its own default
    also scores hue and saturation, which are noise where a picture is nearly black: it finds a cut in a fade-in.
    """
    return cv2.merge([np.hstack(cv2.split(small))] * 3)


def changed_part(one: Tiny, other: Tiny, levels: float) -> float:
    """The part of the picture, 0 to 1, that differs by more than `levels` in the mean of its colours."""
    return float((np.abs(one - other).mean(axis=2) > levels).mean())


def _difference(one: Tiny, other: Tiny) -> float:
    return float(cv2.norm(one, other, cv2.NORM_L1)) / one.size
