"""Films as h264 mp4 files: written frame by frame, the same bytes for the same frames, and read back (PyAV)."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace
from jaxtyping import UInt8

from stage_jax.errors import InputError
from stage_jax.files import atomic_path
from stage_jax.film.timecode import frame_rate

# One encoder thread: x264 gives the same bytes again only when the number of threads is the same.
ENCODER = {"crf": "12", "preset": "medium", "threads": "1"}
# The index first, so that a page plays the film before it has all of it; no muxer version in the file.
CONTAINER = {"movflags": "+faststart", "fflags": "+bitexact"}

# BT.709 as matrix, primaries and transfer curve: the same number in each table of ITU-T H.273.
BT709 = 1


def film_scale(height: int, width: int, short_side: int = 480) -> int:
    """The smallest whole factor that brings the shorter side of a picture to at least `short_side` pixels (64 -> 8)."""
    return max(1, math.ceil(short_side / min(height, width)))


def write_mp4(path: str | Path, frames: Iterable[UInt8[np.ndarray, "H W 3"]], fps: float, *, scale: int = 1) -> int:
    """Write RGB frames as an mp4 (h264, yuv420p, BT.709, crf 12) and return how many there were.

    `frames` is a clip [T, H, W, 3] or anything that yields frames: only one is held at a time. `fps` is in frames per
    second. Each pixel becomes `scale` x `scale` equal ones, so that the film of a tiny model can be seen and its frames
    are still found exactly, every `scale`-th pixel. The file appears whole or not at all.

    Raises InputError for no frames, for frames of different sizes and for sides that are odd after scaling (yuv420p
    halves them); OSError with its errno and `path` when the file cannot be written.
    """
    with atomic_path(path) as temporary, _named(path):
        return _encode(path, temporary, iter(frames), fps, scale)


def _encode(path: str | Path, temporary: Path, frames: Iterator[np.ndarray], fps: float, scale: int) -> int:
    frame = next(frames, None)
    if frame is None:
        raise InputError(f"{path}: no frames to write, expected at least one")
    shape = frame.shape
    height, width = shape[0] * scale, shape[1] * scale
    if height % 2 or width % 2:
        raise InputError(f"{path}: frames of {width}x{height} pixels, expected even sides (h264, yuv420p)")
    with av.open(str(temporary), "w", format="mp4", options=CONTAINER) as container:
        stream = container.add_stream("libx264", rate=frame_rate(fps), options=ENCODER)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.thread_count = 1
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = ColorRange.MPEG
        count = 0
        while frame is not None:
            if frame.shape != shape:
                raise InputError(
                    f"{path}: frame {count} is {frame.shape[1]}x{frame.shape[0]} pixels, "
                    f"expected {shape[1]}x{shape[0]} as frame 0"
                )
            large = np.ascontiguousarray(frame.repeat(scale, axis=0).repeat(scale, axis=1))
            picture = av.VideoFrame.from_ndarray(large, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(picture))
            count, frame = count + 1, next(frames, None)
        container.mux(stream.encode(None))
    return count


@contextmanager
def _named(path: str | Path) -> Iterator[None]:
    """Errors of the muxer as plain OSErrors that name the file that was asked for, not the one on the way to it."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def read_video(path: str | Path) -> UInt8[np.ndarray, "T H W 3"]:
    """All frames of a video file in RGB. Raises InputError for a file that is no video, FileNotFoundError for none."""
    frames = [frame.to_ndarray(format="rgb24") for frame in _decode(path)]
    if not frames:
        raise InputError(f"{path}: no frames in it, expected a video")
    return np.stack(frames)


def count_frames(path: str | Path) -> int:
    """How many frames a video file really decodes to (its header may say otherwise). Raises as `read_video`."""
    return sum(1 for _ in _decode(path))


def _decode(path: str | Path) -> Iterator[av.VideoFrame]:
    if not Path(path).exists():
        raise FileNotFoundError(2, os.strerror(2), str(path))
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise InputError(f"{path}: no picture track, expected a video")
            yield from container.decode(container.streams.video[0])
    except av.error.FFmpegError as error:
        raise InputError(f"{path}: {error.strerror}, expected a video that FFmpeg reads") from error
