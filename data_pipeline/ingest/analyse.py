"""A film read once: its shots, each with what is measured of it. Memory does not grow with the film but by its shots."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_pipeline.ingest.decode import film_frames
from data_pipeline.ingest.measure import Sample, Sampler, ShotMeasures
from data_pipeline.ingest.transitions import WIDTH, Transition, Transitions
from stage_jax.errors import InputError

TALLEST = 4  # times the width, of what cuts are looked for in

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class FoundShot:
    """Frames `first` to `last` of a film; nothing is mixed into those from `clear_first` to `clear_last`. seconds: of those."""

    first: int
    last: int
    clear_first: int
    clear_last: int
    seconds: float
    transition: str
    rate: float
    measures: ShotMeasures


class _Open:
    """The shot that has begun: takes samples and frame times once it is known that no transition changes whose they are."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._samples: deque[Sample] = deque()
        self._times: deque[tuple[int, float]] = deque()
        self._begin(Transition(-1, 0, 0, ""))

    def _begin(self, transition: Transition) -> None:
        self._from, self._measures = transition, ShotMeasures()
        self._first_time: float | None = None
        self._last_time = 0.0

    def frame(self, index: int, seconds: float, sample: Sample | None) -> None:
        self._times.append((index, seconds))
        if sample is not None:
            self._samples.append(sample)

    def settle(self, before: int) -> None:
        """Frames before this one are in this shot or before it."""
        while self._times and self._times[0][0] < before:
            index, seconds = self._times.popleft()
            if index >= self._from.first:
                self._first_time = seconds if self._first_time is None else self._first_time
                self._last_time = seconds
        while self._samples and self._samples[0].index < before:
            sample = self._samples.popleft()
            if sample.index >= self._from.first:
                self._measures.add(sample)

    def end(self, transition: Transition) -> FoundShot | None:
        """The shot, which ends with `transition`; None if it has no frame, as before a fade that begins the film."""
        self.settle(transition.last + 1)
        begun, first = self._from, self._first_time
        seconds = 0.0 if first is None else self._last_time - first + 1 / self._rate
        shot = FoundShot(
            begun.at, transition.at - 1, begun.first, transition.last, seconds, begun.kind, self._rate, self._measures
        )
        self._begin(transition)
        return shot if shot.last >= shot.first else None


def find_shots(film: Path, progress: Progress | None = None, transnet: Path | None = None) -> Iterator[FoundShot]:
    """The shots in the order of the film. progress: called with (frames read, frames in all, 0 if nobody knows). transnet:
    weights of TransNet V2, which then finds the transitions.

    InputError as `film_frames`, for a film of one picture, and for weights that are no TransNet V2's."""
    count, total = 0, 0
    for frame in film_frames(film):
        if not count:
            transitions, sampler, shot = _finder(frame.rate, transnet), Sampler(frame.rate), _Open(frame.rate)
            size = _small(*frame.size)  # for all of them: a stream may change its size
        small = frame.rgb(size)
        shot.frame(frame.index, frame.seconds, sampler(frame, small))
        yield from filter(None, map(shot.end, transitions.push(small)))
        count, total = frame.index + 1, frame.total
        shot.settle(count - transitions.delay)
        if progress:
            progress(count, total)
    if count < 2:
        raise InputError(f"{film}: found {count} frames, expected a film")
    yield from filter(None, map(shot.end, (*transitions.close(), Transition(count - 1, count, count, ""))))


def _small(height: int, width: int) -> tuple[int, int]:
    narrow = min(WIDTH, width)
    return min(max(round(narrow * height / width), 16), TALLEST * narrow), narrow


def _finder(rate: float, transnet: Path | None):
    """What finds transitions, fed frame by frame: `Transitions` or its like."""
    if transnet is None:
        return Transitions(rate)
    from data_pipeline.ingest.neural import NeuralTransitions, neural_network  # imports JAX, which else nothing here needs

    return NeuralTransitions(neural_network(transnet))
