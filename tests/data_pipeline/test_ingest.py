"""Films into shots: the cuts of a real film, what is taken, and what is refused without a trace."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from scenedetect.detectors import AdaptiveDetector

from data_pipeline.ingest import film as module
from data_pipeline.ingest.film import detection_picture, ingest
from data_pipeline.ingest.shots import FilmShots, ShotRecord, read_shots
from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.story.pairs import read_pairs
from stage_jax.story.types import Scene, Shot, Story

FILM = Path(__file__).parents[1] / "data" / "big_buck_bunny_160x90.mp4"
SHOTS = [(0, 282), (283, 375), (376, 550), (551, 719)]


def make_film(path: Path, shots: Sequence[tuple[Sequence[int], int]], rate: int = 12, size: int = 64) -> None:
    """A film of plain colours: (colour, frames) for each shot; a white square moves in each."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv444p"
        for colour, frames in shots:
            for i in range(frames):
                picture = np.full((size, size, 3), colour, np.uint8)
                picture[8:16, i % 40 : i % 40 + 8] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ShotRecord], list[tuple[int, int]]]:
    seen: list[tuple[int, int]] = []
    out = tmp_path_factory.mktemp("ingest") / "new" / "out"
    return out, ingest(FILM, out, lambda done, total: seen.append((done, total))), seen


def test_the_four_shots_of_a_real_film(ingested: tuple) -> None:
    out, records, seen = ingested
    assert [(r.first_frame, r.last_frame) for r in records] == SHOTS
    assert [(r.start_frame, r.end_frame) for r in records] == [(first + 2, last - 2) for first, last in SHOTS]
    assert read_shots(out) == FilmShots(out, tuple(records))
    lines = [json.loads(line) for line in (out / "shots.jsonl").read_text().splitlines()]
    assert lines[1]["film"] == FILM.name and lines[1]["kept"] is True and lines[1]["index"] == 1
    assert lines[1]["name"] == "SC01_SH020" and lines[1]["story"] == 1
    assert seen == [(n, 720) for n in range(1, 721)]


def test_the_frames_written_are_those_named(ingested: tuple) -> None:
    out, records, _ = ingested
    frames = decoded(FILM)
    for record in records:
        for which, index in (("start", record.start_frame), ("end", record.end_frame)):
            picture = np.asarray(Image.open(out / f"{record.name}_{which}.png"))
            assert np.array_equal(picture, frames[index])


def test_a_story_takes_them_as_pairs(ingested: tuple) -> None:
    shots = tuple(Shot(f"SH0{n}0", "d") for n in (1, 2, 3, 4))
    pairs = read_pairs(ingested[0], Story("T", scenes=(Scene("SC01", shots=shots),)))
    assert [pair.start.shape for pair in pairs.values()] == [(90, 160, 3)] * 4


def test_the_thresholds_have_room_on_both_sides() -> None:
    """The same cuts are found with thresholds from far under to far over those used: nothing here is fitted."""
    with av.open(str(FILM)) as container:
        pictures = [detection_picture(frame) for frame in container.decode(video=0)]
    for ratio, least in ((3, 8), (3, 70), (10, 15), (70, 8), (70, 70)):
        detector = AdaptiveDetector(ratio, min_scene_len=12, window_width=2, min_content_val=least, luma_only=True)
        times = [module.FrameTimecode(i, fps=24.0) for i in range(len(pictures))]
        cuts = [cut for pair in zip(times, pictures, strict=True) for cut in detector.process_frame(*pair)]
        assert [cut.frame_num for cut in cuts] == [283, 376, 551]


def test_cuts_between_colours_of_one_brightness_are_found(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((200, 0, 0), 20), ((0, 0, 200), 20), ((0, 200, 0), 20)])
    records = ingest(tmp_path / "a.mp4", tmp_path / "out")
    assert [(r.first_frame, r.last_frame) for r in records] == [(0, 19), (20, 39), (40, 59)]


def test_short_shots_are_listed_and_not_kept(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 24), ((0, 200, 0), 11), ((0, 0, 90), 12)])
    records = ingest(tmp_path / "a.mp4", tmp_path / "out")
    taken = [(r.kept, r.start_frame, r.end_frame) for r in records]
    assert taken == [(True, 2, 21), (False, None, None), (True, 37, 44)]
    assert "shorter than 1 s" in records[1].reason and records[0].reason == ""
    pictures = [f"SC01_SH0{n}0_{which}.png" for n in (1, 3) for which in ("end", "start")]
    assert names(tmp_path / "out") == [*pictures, "shots.jsonl"]


def test_at_few_frames_a_second_start_and_end_differ(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 5)], rate=2)
    (record,) = ingest(tmp_path / "a.mp4", tmp_path / "out")
    assert not record.kept and "6 frames" in record.reason


def test_an_earlier_ingest_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 20), ((0, 90, 0), 20)])
    make_film(tmp_path / "b.mp4", [((90, 0, 0), 20)])
    ingest(tmp_path / "a.mp4", tmp_path / "out")
    ingest(tmp_path / "b.mp4", tmp_path / "out")
    assert names(tmp_path / "out") == ["SC01_SH010_end.png", "SC01_SH010_start.png", "shots.jsonl"]
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match=r"out: found notes.txt in it, expected an empty folder or an earlier ingest"):
        ingest(tmp_path / "b.mp4", tmp_path / "out")
    assert names(tmp_path) == ["a.mp4", "b.mp4", "out"] and "notes.txt" in names(tmp_path / "out")
    with pytest.raises(InputError, match=r"a.mp4: found a file"):
        ingest(tmp_path / "b.mp4", tmp_path / "a.mp4")


def spoiled(kind: str, folder: Path) -> Path:
    """A path that holds no whole film."""
    path = folder / "film.mkv"
    if kind == "text":
        path.write_text("no film")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "folder":
        path.mkdir()
    elif kind == "picture":
        Image.new("RGB", (32, 32)).save(folder / "film.png")
        path = folder / "film.png"
    elif kind == "sound":
        path = folder / "film.wav"
        with av.open(path, "w") as container:
            stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.int16), layout="mono")
            sound.sample_rate, sound.time_base = 8000, Fraction(1, 8000)
            container.mux(stream.encode(sound))
            container.mux(stream.encode())
    elif kind.startswith("cut"):
        name = "film.mp4" if kind == "cut mp4" else "film.mkv"
        make_film(folder / name, [((90, 0, 0), 60), ((0, 90, 0), 60)])
        path = folder / name
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2])
    return path


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("missing", "cannot be read .No such file"),
        ("folder", "cannot be read .Is a directory"),
        ("text", "not a film"),
        ("empty", "not a film"),
        ("picture", "found 1 frames"),
        ("sound", "found no pictures in it"),
        ("cut mp4", "not a film|ends after"),
        ("cut mkv", "ends after"),
    ],
)
def test_what_is_no_film_leaves_nothing(kind: str, expected: str, tmp_path: Path) -> None:
    path = spoiled(kind, tmp_path)
    before = names(tmp_path)
    with pytest.raises(InputError, match=rf"^{path}: ({expected})"):
        ingest(path, tmp_path / "deep" / "out")
    assert names(tmp_path) == before


def test_noise_in_the_middle_of_a_film(tmp_path: Path) -> None:
    """Damaged frames end in a film, as far as FFmpeg conceals them, or in one line; never in anything else."""
    data = bytearray(FILM.read_bytes())
    rng = np.random.default_rng(0)
    data[20_000:60_000] = rng.integers(0, 256, 40_000, np.uint8).tobytes()
    (tmp_path / "a.mp4").write_bytes(data)
    try:
        records = ingest(tmp_path / "a.mp4", tmp_path / "out")
    except InputError:
        assert names(tmp_path) == ["a.mp4"]
    else:
        assert records[0].first_frame == 0 and names(tmp_path) == ["a.mp4", "out"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("step", ["picture", "fsync"])
def test_a_full_or_read_only_disk_leaves_nothing(
    step: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 20)])

    def fail(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((Image.Image, "save") if step == "picture" else (files.os, "fsync")), fail)
    with pytest.raises(OSError, match=r"out") as caught:
        ingest(tmp_path / "a.mp4", tmp_path / "out")
    assert caught.value.errno == code and names(tmp_path) == ["a.mp4"]
