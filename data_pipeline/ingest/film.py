"""A film into its shots: shots.jsonl, and a start and an end frame of each, as `stage film --pairs` takes them."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from PIL import Image
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from data_pipeline.ingest.shots import ShotRecord, write_shots
from stage_jax.errors import InputError
from stage_jax.files import atomic_folder

GUARD = 2  # frames between a cut and what is taken, so that a blended frame at the cut is not
SHORTEST = 1.0  # seconds of a shot that is kept; in less there is hardly a way from a start to an end
FLASH = 0.5  # seconds between two cuts at least; what changes more often is a flash
DETECTION_WIDTH = 256  # pixels; scores hardly change from 160 to 640
WINDOW = 2  # frames on either side that a cut has to stand out from
# A cut has a difference of at least LEAST (of 255), and RATIO times that of the frames around it. These are the values
# that PySceneDetect ships, not fitted ones. On Big Buck Bunny cuts have 79 to 100, at least 74 times their neighbours';
# the most of anything else is 18, 2.5 times its neighbours'. RATIO 3 to 70 with LEAST 8 to 70 finds the same cuts.
LEAST, RATIO = 15.0, 3.0
OURS = re.compile(r"shots\.jsonl|SC01_SH\d{3,}_(?:start|end)\.png")

Progress = Callable[[int, int], None]


def ingest(film: str | Path, out: str | Path, progress: Progress | None = None) -> list[ShotRecord]:
    """Finds the hard cuts of a film and writes its shots to the folder `out`, whole or not at all.

    progress: called with (frames read, frames in all as far as the film says, else 0).
    Raises InputError if the film is missing, none, empty or cut short, or if `out` holds more than an earlier ingest.
    """
    film, out = Path(film), Path(out)
    _check_out(out)
    with atomic_folder(out) as folder:
        records = _ingest(film, folder, progress)
        write_shots(folder, records)
    return records


def _ingest(film: Path, folder: Path, progress: Progress | None) -> list[ShotRecord]:
    """Reads the film once. A cut is known WINDOW frames after it, so that few frames need to be at hand."""
    records: list[ShotRecord] = []
    recent: deque[av.VideoFrame] = deque(maxlen=WINDOW + GUARD + 2)
    first, start, count, rate = 0, None, 0, Fraction(24)
    detector = AdaptiveDetector(
        adaptive_threshold=RATIO, min_content_val=LEAST, window_width=WINDOW, min_scene_len=FLASH, luma_only=True
    )

    def at(index: int) -> av.VideoFrame:
        return recent[index - count]  # the newest is count - 1

    def close(last: int) -> None:
        kept = last + 1 - first >= max(SHORTEST * rate, 2 * GUARD + 2)
        reason = "" if kept else f"shorter than {SHORTEST:g} s, or than {2 * GUARD + 2} frames"
        taken = (first + GUARD, last - GUARD) if kept else (None, None)
        name, transition = f"SC01_SH{10 * (len(records) + 1):03d}", "cut" if records else ""
        seconds = float((last + 1 - first) / rate)
        record = ShotRecord(
            film.name, len(records), 1, name, first, last, seconds, *taken, (), transition, None, kept, reason
        )
        if kept:
            _save(start, folder / f"{record.name}_start.png")
            _save(at(last - GUARD), folder / f"{record.name}_end.png")
        records.append(record)

    for frame, rate, total in _frames(film):
        recent.append(frame)
        count += 1
        for cut in detector.process_frame(FrameTimecode(count - 1, fps=float(rate)), detection_picture(frame)):
            close(cut.frame_num - 1)
            first, start = cut.frame_num, at(cut.frame_num + GUARD) if cut.frame_num + GUARD < count else None
        if start is None and count - 1 == first + GUARD:
            start = frame
        if progress:
            progress(count, total)
    if count < 2:
        raise InputError(f"{film}: found {count} frames, expected a film")
    close(count - 1)
    return records


def detection_picture(frame: av.VideoFrame) -> UInt8[np.ndarray, "height width3 3"]:
    """The frame as the detector sees it: small, and its R, G and B side by side as one grey picture.

    The detector's score of its brightness (HSV's V) is then the mean difference over all three colours. Its own default
    also scores hue and saturation, which are noise where a picture is nearly black: it finds a cut in a fade-in.
    """
    height = min(max(round(DETECTION_WIDTH * frame.height / frame.width), 16), 4 * DETECTION_WIDTH)
    small = frame.reformat(width=DETECTION_WIDTH, height=height, format="rgb24", interpolation="AREA").to_ndarray()
    planes = np.concatenate([small[..., 0], small[..., 1], small[..., 2]], axis=1)
    return np.repeat(planes[..., None], 3, axis=2)


def _frames(film: Path) -> Iterator[tuple[av.VideoFrame, Fraction, int]]:
    """All frames of a film with its frames a second and how many it says it has. Raises InputError."""
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
            rate = video.average_rate or video.guessed_rate or Fraction(24)
            seconds = (container.duration or 0) / av.time_base
            total = video.frames or round(seconds * rate)
            begin, reached = (container.start_time or 0) / av.time_base, 0.0
            for packet in container.demux():
                if packet.pts is not None:
                    reached = max(reached, float((packet.pts + (packet.duration or 0)) * packet.time_base) - begin)
                if packet.stream is video:
                    for frame in packet.decode():
                        count += 1
                        yield frame, rate, total
    except av.FFmpegError as error:
        where = f"frame {count} cannot be read" if count else "not a film"
        raise InputError(f"{film}: {where} ({error.strerror}), expected a whole film that FFmpeg reads") from None
    # The other streams count too: sound may well go on after the last picture.
    if reached < seconds - max(1.0, 0.02 * seconds):
        raise InputError(f"{film}: ends after {reached:.1f} s, expected the {seconds:.1f} s that its header says")


def _save(frame: av.VideoFrame, path: Path) -> None:
    Image.fromarray(frame.to_ndarray(format="rgb24")).save(path)


def _check_out(out: Path) -> None:
    if not out.exists() and not out.is_symlink():
        return
    others = [] if not out.is_dir() else [entry.name for entry in out.iterdir() if not OURS.fullmatch(entry.name)]
    if not out.is_dir():
        raise InputError(f"{out}: found a file, expected a folder or nothing")
    if others:
        raise InputError(f"{out}: found {min(others)} in it, expected an empty folder or an earlier ingest")
