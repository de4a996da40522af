"""What ingest leaves of a film: a line of shots.jsonl for each shot, and pictures of those that are kept."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from stage_jax.errors import InputError
from stage_jax.story.schema import Place, build, described

SHOTS = "shots.jsonl"
INTERIOR = 2  # frames between start and end that are written
NAME = re.compile(r"(SC\d{2,9})_(SH\d{3,9})", re.ASCII)


@dataclass(frozen=True)
class Camera:
    """How the camera moves: `kind` static, pan, tilt or zoom; `direction` left, right, up, down, in or out, none if static.

    speed: of a pan in picture widths a second, of a tilt in heights, of a zoom in e-folds of the enlargement; 0 if static.
    """

    kind: str
    direction: str = ""
    speed: float = 0.0

    @property
    def words(self) -> str:
        """As a story says it: "pan left"."""
        return f"{self.kind} {self.direction}".strip()


@dataclass(frozen=True)
class Bars:
    """Black bars round a picture, in pixels of the upright frame."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class ShotRecord:
    """One line of shots.jsonl. Frames count from 0 in the film; `first_frame` and `last_frame` belong to the shot.

    name: as its pictures are called, SC02_SH010: the first shot of the film's second story. Shots that are not kept
    have names too. story: counted from 1. start_frame, end_frame, interior_frames: those written, none if it is not `kept`;
    `reason` says why it is not. transition: how the shot begins: "cut", "dissolve", "fade"; "" at the start of the film.
    Of a dissolve each shot has a half. bars: black ones round the picture, which are not in what is written. brightness and
    sharpness, the standard deviation of the Laplacian, in grey levels of 255. motion: how far points of the picture move, in
    its widths a second. camera: None where nothing shows it. start_seconds, end_seconds: when those frames are shown.
    """

    film: str
    index: int
    story: int
    name: str
    first_frame: int
    last_frame: int
    seconds: float
    start_frame: int | None
    end_frame: int | None
    interior_frames: tuple[int, ...]
    transition: str
    camera: Camera | None
    bars: Bars
    brightness: float
    sharpness: float
    motion: float
    kept: bool
    reason: str
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True)
class FilmShots:
    """The shots of one film, in its order, and the folder with their pictures."""

    folder: Path
    shots: tuple[ShotRecord, ...]

    @property
    def kept(self) -> tuple[ShotRecord, ...]:
        return tuple(shot for shot in self.shots if shot.kept)

    def pictures(self, shot: ShotRecord) -> tuple[Path, ...]:
        """The files of a kept shot in the order of time: start frame, interior frames, end frame."""
        return tuple(self.folder / f"{shot.name}_{which}.png" for which in picture_names(len(shot.interior_frames)))


def picture_names(interior: int) -> tuple[str, ...]:
    """What stands behind a shot's name in the names of its pictures, in the order of time."""
    return ("start", *(f"interior{k + 1}" for k in range(interior)), "end")


def film_folders(folder: Path) -> list[Path]:
    """The ingested films: `folder` itself, or those in it. InputError if there is none."""
    found = [place for place in (folder, *sorted(folder.glob("*/"))) if (place / SHOTS).is_file()]
    if not found:
        raise InputError(f"{folder}: found no {SHOTS}, in it or in the folders in it, expected an ingest")
    return found


def read_shots(folder: Path) -> FilmShots:
    """What `write_shots` wrote. InputError names the line of whatever is not as it writes it."""
    path = folder / SHOTS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}), expected the shots of an ingest") from None
    shots = []
    for number, line in enumerate(lines, 1):
        place = Place(f"{path}:{number}")
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not JSON ({error}), expected the shots of an ingest") from None
        shot = build(ShotRecord, value, place)
        if not NAME.fullmatch(shot.name):  # it becomes part of paths
            raise place.key("name").error(described(shot.name), "a name such as SC01_SH010")
        shots.append(shot)
    if not shots:
        raise InputError(f"{path}: found no shot, expected 1 or more")
    return FilmShots(folder, tuple(shots))


def write_shots(folder: Path, shots: Sequence[ShotRecord]) -> None:
    lines = (json.dumps(asdict(shot), ensure_ascii=False) + "\n" for shot in shots)
    (folder / SHOTS).write_text("".join(lines), encoding="utf-8")
