"""What stands beside the shots: SC01_SH010.txt with a caption, or a film's subtitles."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from data_pipeline.annotate.side_table import names_of
from data_pipeline.annotate.told import Told, ToldFilm
from data_pipeline.ingest.shots import FilmShots
from stage_jax.errors import InputError
from stage_jax.story.schema import LONGEST_TEXT, described

LARGEST = 16 << 20  # bytes of a side file; a film's subtitles take 0.1 MB
_TIME = r"(\d{1,3}):([0-5]\d):([0-5]\d)[,.](\d{3})"
_TIMES = re.compile(rf"{_TIME}\s*-->\s*{_TIME}(?:\s.*)?", re.ASCII)
_MARKUP = re.compile(r"</?[a-zA-Z][^<>]*>|\{\\[^{}]*\}")  # <i>, <font ...>, {\an8}


@dataclass(frozen=True)
class Texts:
    """A caption for each shot as SC01_SH010.txt in `folder`, or in its folder with the film's name."""

    folder: Path

    def __post_init__(self) -> None:
        if not self.folder.is_dir():
            raise InputError(f"{self.folder}: found no folder, expected one of captions such as SC01_SH010.txt")

    def __call__(self, told: ToldFilm) -> ToldFilm:
        return told.with_shots([self._told(told, shot) for shot in told.shots])

    def _told(self, film: ToldFilm, told: Told) -> Told:
        files = [self.folder / f"{name}.txt" for name in names_of(film, told)]
        file = next((file for file in files if file.is_file()), None)
        return told if file is None else told.said(str(file), True, description=" ".join(_text(file).split()))


@dataclass(frozen=True)
class Subtitles:
    """A film's .srt: `path` itself, or FILM.srt in the folder `path`. Each cue goes to the shot that most of it falls in, as
    that shot's `says`."""

    path: Path
    says: Literal["description", "dialogue"]

    def __post_init__(self) -> None:
        if not self.path.exists():
            raise InputError(f"{self.path}: found nothing there, expected a .srt file or a folder of them")

    def __call__(self, told: ToldFilm) -> ToldFilm:
        if not told.alone and not self.path.is_dir():
            raise InputError(f"{self.path}: found one file for several films, expected a folder of FILM.srt")
        stems = [PurePosixPath(told.film.shots[0].film).stem, told.film.folder.resolve().name]
        files = [self.path / f"{stem}.srt" for stem in stems] if self.path.is_dir() else [self.path]
        file = next((file for file in files if file.is_file()), None)
        when, said = spans(told.film), dict[str | None, list[str]]()
        for cue in [] if file is None else read_srt(file):
            said.setdefault(_most(cue, when), []).append(cue.text)
        texts = [" ".join(said.get(shot.record.name, ()))[:LONGEST_TEXT] for shot in told.shots]
        by = str(self.path)
        return told.with_shots([s.said(by, True, **{self.says: text}) for s, text in zip(told.shots, texts, strict=True)])


@dataclass(frozen=True)
class Cue:
    """A subtitle. start, end: seconds from the beginning of the film."""

    start: float
    end: float
    text: str


def read_srt(path: Path) -> list[Cue]:
    """The cues of a SubRip file, without their markup. InputError names the line of what is none."""
    cues: list[Cue] = []
    lines = [*_text(path).splitlines(), ""]
    block: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            block.append((number, line.strip()))
        elif block:
            cues.append(_cue(path, block))
            block = []
    return cues


def spans(film: FilmShots) -> dict[str, tuple[float, float]]:
    """When each shot begins and ends, in seconds, by its name: as its start and end frame say, since a film's rate may vary; if
    they do not, it goes on from the shot before."""
    found, time, frame = {}, 0.0, 0
    for shot in film.shots:
        each = shot.seconds / (shot.last_frame + 1 - shot.first_frame)
        start = time + (shot.first_frame - frame) * each
        time, frame = start + shot.seconds, shot.last_frame + 1
        if shot.start_seconds is not None and shot.end_seconds is not None:
            each = (shot.end_seconds - shot.start_seconds) / max(shot.end_frame - shot.start_frame, 1)
            start = shot.start_seconds - (shot.start_frame - shot.first_frame) * each
            time = shot.end_seconds + (frame - shot.end_frame) * each
        found[shot.name] = start, time
    return found


def _most(cue: Cue, spans: dict[str, tuple[float, float]]) -> str | None:
    """The shot that most of a cue falls in."""
    within = {name: min(cue.end, end) - max(cue.start, start) for name, (start, end) in spans.items()}
    name = max(within, key=within.__getitem__)
    return name if within[name] > 0 else None


def _cue(path: Path, block: list[tuple[int, str]]) -> Cue:
    (number, line), *rest = block[1:] if block[0][1].isdecimal() and len(block) > 1 else block
    times = _TIMES.fullmatch(line)
    if times is None:
        raise InputError(f"{path}:{number}: found {described(line)}, expected times such as 00:00:01,000 --> 00:00:02,500")
    h, m, s, ms, h2, m2, s2, ms2 = map(int, times.groups())
    text = " ".join(line for _, line in rest)
    plain = " ".join(html.unescape(_MARKUP.sub("", text)).split())
    return Cue(h * 3600 + m * 60 + s + ms / 1000, h2 * 3600 + m2 * 60 + s2 + ms2 / 1000, plain)


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: larger than {LARGEST >> 20} MiB, expected a side file")
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}), expected a side file") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: found bytes that are no UTF-8, expected a side file") from None
