"""Where one shot ends and the next begins: hard cuts, dissolves and fades in the order of the film."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from data_pipeline.ingest.cuts import Cuts
from data_pipeline.ingest.fades import Fades, Mixed

WIDTH = 160  # pixels of the pictures that cuts are looked for in; scores hardly change from 160 to 640
TINY = (48, 27)  # width and height of those that are compared over longer times
BLANK = 1.0  # seconds for which a fade may show nothing and still be one with the next


@dataclass(frozen=True)
class Transition:
    """at: the first frame of the shot that begins. last and first: the last frame before it and the first from `at` on that
    nothing is mixed into. kind: cut, dissolve or fade. from_blank, to_blank: whether the shot before or after shows nothing."""

    last: int
    at: int
    first: int
    kind: str
    from_blank: bool = False
    to_blank: bool = False


class Transitions:
    """Fed frame by frame; a transition is known when `delay` frames after it have been seen. rate: frames a second."""

    def __init__(self, rate: float) -> None:
        self._cuts, self._fades = Cuts(rate), Fades(rate)
        self._blank = max(round(BLANK * rate), 1)
        self._wait = 2 * self._fades.delay  # until all that begins before a frame has been told
        self.delay = self._wait + 3 * (self._fades.delay + self._blank)  # one fade out and one in, which are one
        self._found_cuts: list[int] = []
        self._found: list[Mixed] = []
        self._open: Transition | None = None  # it may be one with the next
        self._count = 0

    def push(self, small: UInt8[np.ndarray, "height width 3"]) -> list[Transition]:
        """The transitions that are known with this frame."""
        tiny = cv2.resize(small, TINY, interpolation=cv2.INTER_AREA).astype(np.float32)
        self._found_cuts += self._cuts.push(small, tiny)
        self._found += self._fades.push(tiny)
        self._count += 1
        return self._known(self._count - self._wait)

    def close(self) -> list[Transition]:
        """The others, at the end of the film."""
        self._found_cuts += self._cuts.close()
        self._found += self._fades.close()
        known = self._known(self._count)
        if self._open and not (self._open.to_blank and self._count - self._open.first < self._blank):
            known.append(self._open)
        elif self._open:  # the film ends with a fade: nothing begins there
            known.append(dataclasses.replace(self._open, at=self._count, first=self._count))
        return known

    def _known(self, before: int) -> list[Transition]:
        known = []
        for transition in self._in_order(before):
            previous, self._open = self._open, transition
            if previous is None and transition.from_blank and transition.last < self._blank:  # the film begins with a fade
                known.append(dataclasses.replace(transition, last=-1, at=0))
                self._open = None
            elif previous and self._are_one(previous, transition):
                self._open = _joined(previous, transition)
            elif previous:
                known.append(previous)
        if self._open and self._open.first < before - self._blank - self._fades.delay:  # what is one with it would be there
            known.append(self._open)
            self._open = None
        return known

    def _are_one(self, one: Transition, other: Transition) -> bool:
        """A fade out and a fade in with little between, or one dissolve that was seen twice."""
        return other.last < one.first or ((one.to_blank or other.from_blank) and other.last - one.first < self._blank)

    def _in_order(self, before: int) -> list[Transition]:
        mixed = [m for m in self._found if m.first < before]
        self._found = self._found[len(mixed) :]
        cuts = [cut for cut in self._found_cuts if cut < before]
        self._found_cuts = self._found_cuts[len(cuts) :]
        # What looks like a cut inside of a dissolve is a picture of another quality.
        cuts = [cut for cut in cuts if not any(m.last < cut <= m.first for m in (*mixed, *self._found))]
        told = [Transition(cut - 1, cut, cut, "cut") for cut in cuts] + [_transition(m) for m in mixed]
        return sorted(told, key=lambda transition: transition.last)


def _joined(one: Transition, other: Transition) -> Transition:
    kind = "fade" if "fade" in (one.kind, other.kind) else "dissolve"
    at = {(True, False): one.at, (False, True): other.at}.get(
        (one.kind == "cut", other.kind == "cut"), (one.at + other.at) // 2
    )
    return Transition(one.last, at, max(one.first, other.first), kind, one.from_blank, other.to_blank)


def _transition(mixed: Mixed) -> Transition:
    at = (mixed.last + mixed.first + 1) // 2
    if mixed.to_blank:
        at = mixed.first
    elif mixed.from_blank:
        at = mixed.last + 1
    kind = "fade" if mixed.from_blank or mixed.to_blank else "dissolve"
    return Transition(mixed.last, at, mixed.first, kind, mixed.from_blank, mixed.to_blank)
