from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

import stage_jax.film.video as video
from stage_jax.errors import InputError
from stage_jax.film.video import count_frames, film_scale, read_video, write_mp4


def moving_ball(frames: int = 17, side: int = 64) -> np.ndarray:
    rows, columns = np.mgrid[0:side, 0:side]
    clip = np.full((frames, side, side, 3), (205, 222, 235), np.uint8)
    for t in range(frames):
        clip[t][(columns - 8 - 3 * t) ** 2 + (rows - 32) ** 2 < 90] = (200, 60, 40)
    return clip


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2))


@pytest.mark.parametrize("frames", [1, 2, 17, 34])
def test_all_frames_come_back_in_order_and_near_to_what_went_in(tmp_path: Path, frames: int) -> None:
    clip = moving_ball(frames)
    assert write_mp4(tmp_path / "film.mp4", clip, 8.0, scale=8) == frames
    back = read_video(tmp_path / "film.mp4")
    assert count_frames(tmp_path / "film.mp4") == frames
    assert back.shape == (frames, 512, 512, 3)
    small = back[:, 4::8, 4::8]
    assert all(psnr(small[t], clip[t]) > 38 for t in range(frames))
    if frames > 1:
        assert psnr(small[0], clip[1]) < 30


def test_pure_colours_survive_the_way_through_bt709(tmp_path: Path) -> None:
    """A wrong matrix (BT.601 on one side) moves pure green and red by more than 20 levels."""
    colours = np.array([(200, 30, 30), (30, 200, 30), (30, 30, 200), (128, 128, 128)], np.uint8)
    write_mp4(tmp_path / "film.mp4", np.broadcast_to(colours[:, None, None], (4, 64, 64, 3)), 8.0)
    back = read_video(tmp_path / "film.mp4")
    assert np.abs(back[:, 20:40, 20:40].mean((1, 2)) - colours).max() < 4


def test_the_file_says_rate_length_size_and_colours(tmp_path: Path) -> None:
    write_mp4(tmp_path / "film.mp4", moving_ball(), 23.976, scale=2)
    with av.open(str(tmp_path / "film.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == Fraction(24000, 1001)
        assert stream.frames == 17
        assert abs(float(stream.duration * stream.time_base) - 17 * 1001 / 24000) < 1e-3
        assert (stream.width, stream.height, stream.pix_fmt, stream.codec.name) == (128, 128, "yuv420p", "h264")
        assert stream.codec_context.colorspace == 1
    data = (tmp_path / "film.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat"), "the index comes first, so that a page can play while it loads"


def test_the_same_frames_give_the_same_bytes_from_an_array_or_one_by_one(tmp_path: Path) -> None:
    clip = moving_ball()
    write_mp4(tmp_path / "a.mp4", clip, 8.0, scale=2)
    write_mp4(tmp_path / "b.mp4", (frame for frame in clip), 8.0, scale=2)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    write_mp4(tmp_path / "c.mp4", clip[::-1], 8.0, scale=2)
    assert (tmp_path / "a.mp4").read_bytes() != (tmp_path / "c.mp4").read_bytes()


def test_frames_are_taken_one_at_a_time(tmp_path: Path) -> None:
    """A long film does not have to fit into memory: when a frame is asked for, all but the one before are gone."""
    given: list[weakref.ref[np.ndarray]] = []

    def frames() -> Iterator[np.ndarray]:
        for _ in range(12):
            assert sum(frame() is not None for frame in given) <= 1
            frame = np.zeros((32, 32, 3), np.uint8)
            given.append(weakref.ref(frame))
            yield frame
            del frame

    assert write_mp4(tmp_path / "film.mp4", frames(), 8.0) == 12


def test_what_cannot_be_a_film_is_one_line_and_no_file(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    for frames, words in [
        (np.zeros((0, 64, 64, 3), np.uint8), "no frames"),
        (np.zeros((2, 63, 64, 3), np.uint8), "64x63"),
        ([np.zeros((64, 64, 3), np.uint8), np.zeros((32, 64, 3), np.uint8)], "frame 1 is 64x32"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            write_mp4(film, frames, 8.0)
        assert str(film) in str(caught.value) and "\n" not in str(caught.value)
        assert list(tmp_path.iterdir()) == []


def test_odd_sides_are_fine_once_they_are_doubled(tmp_path: Path) -> None:
    write_mp4(tmp_path / "film.mp4", np.zeros((2, 33, 35, 3), np.uint8), 8.0, scale=2)
    assert read_video(tmp_path / "film.mp4").shape == (2, 66, 70, 3)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_leaves_the_old_film_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"old")

    def refuse(*_: object, **__: object) -> None:
        raise av.error.OSError(code, os.strerror(code), "somewhere.tmp.mp4")

    monkeypatch.setattr(video.av, "open", refuse)
    with pytest.raises(OSError, match="film.mp4") as caught:
        write_mp4(film, moving_ball(2), 8.0)
    assert caught.value.errno == code and caught.value.filename == str(film)
    assert list(tmp_path.iterdir()) == [film] and film.read_bytes() == b"old"


def test_a_write_that_really_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    """The system refuses to let any file grow past 20 kB, in a process of its own: EFBIG from the muxer itself."""
    program = """
import resource, sys
import numpy as np
from stage_jax.film.video import write_mp4
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
noise = np.random.default_rng([0]).integers(0, 256, (8, 128, 128, 3), dtype=np.uint8)
try:
    write_mp4(sys.argv[1], noise, 8.0)
except OSError as error:
    sys.exit(0 if error.filename == sys.argv[1] and error.errno == 27 else 3)
sys.exit(4)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "film.mp4")], check=False)
    assert done.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE) != (20_000, 20_000)


def test_an_error_in_the_frames_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield np.zeros((64, 64, 3), np.uint8)
        raise InputError("SC01_SH020_start.png: not a picture")

    with pytest.raises(InputError, match="SC01_SH020"):
        write_mp4(tmp_path / "film.mp4", frames(), 8.0)
    assert list(tmp_path.iterdir()) == []


def test_reading_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("INT. KITCHEN - DAY")
    with pytest.raises(InputError, match="text.mp4"):
        read_video(tmp_path / "text.mp4")
    with pytest.raises(FileNotFoundError, match="gone.mp4"):
        count_frames(tmp_path / "gone.mp4")


def test_scale_brings_the_short_side_to_480() -> None:
    assert [film_scale(*size) for size in [(64, 64), (64, 112), (480, 832), (270, 480), (1, 1)]] == [8, 8, 1, 2, 480]
