"""The frames of a film one after another, upright and in square pixels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8

from stage_jax.errors import InputError

SLOWEST, FASTEST = 1, 240  # frames a second; some files claim 90,000, which is what their clock counts in
EARLY = 1.0  # seconds before what is looked for: some formats are entered by the times of decoding, which run ahead of showing
SLACK = 0.002  # seconds by which a frame's time may be off: Matroska counts in milliseconds


@dataclass(frozen=True)
class FilmFrame:
    """index: from 0. seconds: when it is shown. total: how many frames the film says it has, 0 if it does not; rate: how many a
    second on average; stretch: width of its pixels over their height, before it is turned upright."""

    index: int
    seconds: float
    picture: av.VideoFrame
    total: int
    rate: float
    stretch: Fraction

    @property
    def turns(self) -> int:
        """Quarter turns against the clock that bring the picture upright, by the film's display matrix."""
        return round(self.picture.rotation / 90) % 4

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, upright and in square pixels."""
        height, width = self.picture.height, max(round(self.picture.width * self.stretch), 1)
        return (width, height) if self.turns % 2 else (height, width)

    def rgb(self, size: tuple[int, int] | None = None) -> UInt8[np.ndarray, "height width 3"]:
        """The picture upright, of `size` (its own by default; height and width), by means over areas where it gets smaller."""
        height, width = (size or self.size)[:: -1 if self.turns % 2 else 1]
        return self._reformatted(width, height, "rgb24")

    def grey(self) -> UInt8[np.ndarray, "height width"]:
        """The brightness of the picture upright, at its own size."""
        height, width = self.size[:: -1 if self.turns % 2 else 1]
        return self._reformatted(width, height, "gray")

    def _reformatted(self, width: int, height: int, pixels: str) -> np.ndarray:
        # One thread: more wait for one another where the processor has other things to do, and gain little.
        changed = self.picture.reformat(width=width, height=height, format=pixels, interpolation="AREA", threads=1)
        return np.ascontiguousarray(np.rot90(changed.to_ndarray(), self.turns))


def frames_since(film: Path, seconds: float) -> Iterator[FilmFrame]:
    """The frames of a film from some time before `seconds` on: near it where the film can be entered there, else all. Their
    `index` counts from the first of them. InputError as `film_frames`."""
    if seconds > EARLY:
        frames = film_frames(film, seconds - EARLY)
        first = next(frames, None)
        if first is not None and first.seconds <= seconds + SLACK:
            yield first
            yield from frames
            return
    yield from film_frames(film)


def film_frames(film: Path, enter: float | None = None) -> Iterator[FilmFrame]:
    """All frames of a film; few are held at a time. InputError if it is missing, none, damaged or cut short.

    enter: seconds at or before which reading begins, if the film's format knows a place to; a frame that does not say when it
    is shown is then at infinity."""
    try:
        with open(film, "rb"):
            pass
    except OSError as error:
        raise InputError(f"{film}: cannot be read ({error.strerror}), expected a film") from None
    count = 0
    try:
        with av.open(f"file:{film}") as container:
            video = next((s for s in container.streams.video if not s.disposition & s.disposition.attached_pic), None)
            if video is None:
                raise InputError(f"{film}: found no pictures in it, expected a film")
            video.thread_type = "AUTO"
            rate = min(max(video.average_rate or video.guessed_rate or Fraction(24), SLOWEST), FASTEST)
            seconds = (container.duration or 0) / av.time_base
            total = video.frames or round(seconds * rate)
            begin, reached = (container.start_time or 0) / av.time_base, 0.0
            entered = enter is not None and _entered(container, enter + begin)
            for packet in container.demux():
                if packet.pts is not None:
                    reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base) - begin)
                if packet.stream is video:
                    for picture in packet.decode():
                        counted = math.inf if entered else float(count / rate)
                        when = counted if picture.time is None else picture.time - begin
                        stretch = video.sample_aspect_ratio or Fraction(1)
                        yield FilmFrame(count, when, picture, total, float(rate), stretch if stretch > 0 else Fraction(1))
                        count += 1
    except av.FFmpegError as error:
        where = f"frame {count} cannot be read" if count else "not a film"
        raise InputError(f"{film}: {where} ({error.strerror}), expected a whole film that FFmpeg reads") from None
    # The other streams count too: sound may well go on after the last picture.
    if reached < seconds - max(1.0, 0.02 * seconds):
        raise InputError(f"{film}: ends after {reached:.1f} s, expected the {seconds:.1f} s that its header says")


def _entered(container: av.container.InputContainer, seconds: float) -> bool:
    """Whether the next packet is that of a key frame at or before `seconds`; else it is still the first."""
    try:
        container.seek(round(seconds * av.time_base))
    except av.FFmpegError:  # a bare stream, without times or an index
        return False
    return True
