"""Clips of ingested films, decoded again from the films themselves: as many frames a second as a video model is trained on.

A clip of N frames at F a second lasts (N - 1) / F seconds from its first frame to its last. It begins with its shot's start
frame. What lies between that and the end frame may be

- shorter than a clip by over a tenth: the shot is left out;
- as long as a clip, or a tenth more or less: the clip's frames are spread evenly from the start frame to the end frame;
- longer: the clip is the first N frames at F a second, and what comes after it is not used.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from data_pipeline.ingest.bars import without_bars
from data_pipeline.ingest.decode import SLACK, FilmFrame, frames_since
from data_pipeline.ingest.film import FILM, file_identity
from data_pipeline.ingest.shots import SHOTS, Bars, ShotRecord
from stage_jax.errors import InputError
from stage_jax.story.pictures import fit_picture
from stage_jax.story.tables import read_json

LOOSE = 0.1  # part of a clip's length by which a shot may be faster or slower in it; our choice


@dataclass(frozen=True)
class ClipForm:
    """frames: of each clip, 4 k + 1. fps: of them a second. films: a folder that the films are in, however deep."""

    frames: int
    fps: int
    films: Path

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return (self.frames - 1) / self.fps

    def ends_with(self, shot: ShotRecord) -> bool:
        """Whether the clip's last frame is the shot's end frame."""
        return seconds_of(shot) <= (1 + LOOSE) * self.seconds

    def times(self, shot: ShotRecord) -> tuple[float, ...]:
        """When in the film the frames are shown; none if the shot is too short."""
        have = seconds_of(shot)
        if have < (1 - LOOSE) * self.seconds:
            return ()
        length = have if self.ends_with(shot) else self.seconds
        return tuple(shot.start_seconds + length * k / (self.frames - 1) for k in range(self.frames))


@dataclass(frozen=True)
class StoryClips:
    """The clips of the shots of a story, which are in one film and long enough."""

    form: ClipForm
    film: Path
    shots: tuple[ShotRecord, ...]

    def read(self, size: tuple[int, int]) -> Iterator[UInt8[np.ndarray, "frames height width 3"]]:
        """A clip at a time, fitted to height and width as start and end frames are. InputError as `film_frames`."""
        for shot in self.shots:
            yield read_clip(self.film, self.form.times(shot), shot.bars, size)


def seconds_of(shot: ShotRecord) -> float:
    """From the start frame to the end frame of a kept shot. InputError if the ingest did not yet write when they are shown."""
    if shot.start_seconds is None or shot.end_seconds is None:
        expected = "an ingest that says it; ingest the film again, into a new folder"
        raise InputError(f"{SHOTS} of {shot.film}: {shot.name}: found no start_seconds and end_seconds, expected {expected}")
    return shot.end_seconds - shot.start_seconds


def find_film(place: Path, films: Path) -> Path:
    """The film that the folder `place` was made of: of its name, length and hash. InputError if it is not in `films`."""
    told = read_json(place / FILM, "what an ingest writes")
    name = told.get("name") if isinstance(told, dict) else None
    if not isinstance(name, str):
        raise InputError(f"{place / FILM}: found no name of a film, expected what an ingest writes")
    others = [path for path in sorted(films.rglob("*")) if path.name == name and path.is_file()]
    for path in others:
        if file_identity(path).items() <= told.items():
            return path
    found = f"{others[0]}, which is another film" if others else "none of this name"
    raise InputError(f"{films}: found {found}, expected {name}, which {place} was made of, in it")


def read_clip(
    film: Path, times: tuple[float, ...], bars: Bars, size: tuple[int, int]
) -> UInt8[np.ndarray, "frames height width 3"]:
    """The frame that the film shows at each of `times`, as `shown_at`."""
    clip = np.empty((len(times), *size, 3), np.uint8)
    for places, frame in shown_at(film, times):
        clip[places] = fit_picture(without_bars(frame.rgb(), bars), size)
    return clip


def shown_at(film: Path, times: Sequence[float]) -> Iterator[tuple[slice, FilmFrame]]:
    """The frames that a film shows at `times`, which ascend, each with the places of its times among them: at a time the last
    frame is shown that has begun. InputError as `film_frames`, and for times that are not in the film."""
    done = 0
    shown: FilmFrame | None = None
    for frame in frames_since(film, times[0]):
        until = int(np.searchsorted(times, frame.seconds - SLACK))  # the times before this frame begins
        if until > done:
            if shown is None:
                raise InputError(f"{film}: begins after a frame that is taken of it, expected the film of the ingest")
            yield slice(done, until), shown
            done = until
        if done == len(times):
            return
        shown = frame
    if shown is None or times[-1] > shown.seconds + SLACK:
        raise InputError(f"{film}: found no frame at {times[-1]:.3f} s, expected those of the shots of its ingest")
    yield slice(done, len(times)), shown
