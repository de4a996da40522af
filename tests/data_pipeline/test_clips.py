"""Clips of ingested films: which frames of the film they are, whose pictures the frames are, and what is refused."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_pipeline.clips import ClipForm
from data_pipeline.film_folder import film_sources
from data_pipeline.ingest.decode import film_frames, frames_since
from data_pipeline.ingest.film import ingest_film
from data_pipeline.ingest.shots import ShotRecord, read_shots, write_shots
from data_pipeline.latents import _inputs
from data_pipeline.outside import Source, record_of
from data_pipeline.records import Shape, open_records
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.film.data_page import data_page
from stage_jax.story.masks import UNKNOWN

TICKS = 1000  # a second
SHOTS = [((190, 0, 0), [83] * 24), ((0, 190, 0), [83] * 60), ((0, 0, 190), [60, 110] * 12), ((190, 190, 0), [83] * 14)]
BAR = 6


def write_film(path: Path) -> list[int]:
    """Shots of plain colours between black bars, in each frame a brighter field that tells its number; those of the third shot
    are shown for 60 and 110 ms in turn. Returns when each frame is shown, in ms."""
    times, now = [], 0
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "1", "preset": "ultrafast", "g": "20"})
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv444p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, TICKS)
        for colour, lengths in SHOTS:
            for i, length in enumerate(lengths):
                picture = np.zeros((64, 80, 3), np.uint8)
                picture[BAR:-BAR] = colour
                picture[16:48, 8:50] += np.uint8(i)
                picture[BAR:-BAR, 50:] = 120  # for one story
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = now, Fraction(1, TICKS)
                container.mux(stream.encode(frame))
                times.append(now)
                now += length
        container.mux(stream.encode())
    return times


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A folder with films/deep/a.mkv, which is ingested into shots/, and when its frames are shown."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "films" / "deep").mkdir(parents=True)
    times = write_film(folder / "films" / "deep" / "a.mkv")
    ingest_film(folder / "films" / "deep" / "a.mkv", folder / "shots")
    return folder, times


def records_of(film: Path, out: Path, *flags: object) -> int:
    return main(["data", "records", "film_folder", str(film / "shots"), "--out", str(out), *map(str, flags)])


def expected(shot: ShotRecord, times: list[int], frames: int, fps: int) -> list[int]:
    """Numbers of the film's frames, by the rule as it is written down, in milliseconds."""
    start, end = times[shot.start_frame], times[shot.end_frame]
    length = 1000 * (frames - 1) / fps
    length = end - start if end - start <= 1.1 * length else length
    moments = [start + length * k / (frames - 1) for k in range(frames)]
    return [max(i for i, time in enumerate(times) if time <= moment + 2) for moment in moments]


def test_clips_are_the_films_frames_by_their_times(film: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """Of a shot that fits, of a longer one, of variable frames and of one that is too short."""
    folder, times = film
    flags = ("--size", "52x80", "--clips", 17, "--fps", 10, "--films", folder / "films")
    assert records_of(folder, tmp_path / "out", *flags) == 0
    assert "too short for a clip, left out: 1 shots (SC01_SH040 of shots)" in capsys.readouterr().err
    (record,) = open_records(tmp_path / "out", "train")
    metadata = open_records(tmp_path / "out", "train").metadata
    assert (metadata["clip_frames"], metadata["interior"]) == (17, 2)
    assert dict(metadata["about"]) == {"made_by": "film_folder", "fps": 10, "too_short_for_a_clip": 1}

    shots = read_shots(folder / "shots").kept[:3]
    assert [s["id"] for s in json.loads(record["story"])["scenes"][0]["shots"]] == ["SH010", "SH020", "SH030"]
    pictures = {frame.index: frame.rgb()[BAR:-BAR] for frame in film_frames(folder / "films" / "deep" / "a.mkv")}
    clips, frames = record["clips"].reshape(3, 17, 52, 80, 3), record["frames"].reshape(3, 4, 52, 80, 3)
    for shot, clip, four in zip(shots, clips, frames, strict=True):
        wanted = expected(shot, times, 17, 10)
        assert all(np.array_equal(picture, pictures[index]) for picture, index in zip(clip, wanted, strict=True))
        assert np.array_equal(four, clip[[0, 16, 5, 11]])
        assert np.array_equal(clip[0], np.asarray(Image.open(folder / "shots" / f"{shot.name}_start.png")))
        ends = np.array_equal(clip[16], np.asarray(Image.open(folder / "shots" / f"{shot.name}_end.png")))
        assert ends == (shot.name != "SC01_SH020")
    condition = list(_inputs(record, "clips", 0))[3]  # of the longer shot, as first and last frame to video reads it
    assert np.array_equal(condition[[0, -1]], frames[1, :2])


def test_interior_frames_and_their_masks(film: tuple, tmp_path: Path) -> None:
    """Without clips they are ingest's; of their roles nobody knows, nor of an end frame that the clip does not reach."""
    folder = tmp_path / "shots"
    shutil.copytree(film[0] / "shots", folder)
    shots = read_shots(folder)
    told = [{"id": s.name[5:], "description": "a", "characters": ["x"]} for s in shots.kept]
    story = {"title": "t", "characters": [{"id": "x", "name": "X"}], "scenes": [{"id": "SC01", "shots": told}]}
    (folder / "story.json").write_text(json.dumps(story))
    for path in shots.pictures(shots.kept[0])[:1]:
        shape = np.asarray(Image.open(path)).shape[:2]
    for shot in shots.kept:
        for which in ("start", "end"):
            Image.fromarray(np.ones(shape, np.uint8)).save(folder / f"{shot.name}_{which}_mask.png")

    def masks(source: Source, frames: int) -> list[list[int]]:
        record = record_of(source, "train", Shape(52, 80, source.interior, frames))
        assert (record.masks == record.masks[:, :1, :1]).all()
        return record.masks[:, 0, 0].reshape(-1, 4).tolist()

    (source,) = film_sources(folder).sources
    record = record_of(source, "train", Shape(52, 80, source.interior, 0))
    assert np.array_equal(record.frames[2], np.asarray(Image.open(folder / "SC01_SH010_interior1.png")))
    assert np.array_equal(record.frames[4 + 3], np.asarray(Image.open(folder / "SC01_SH020_interior2.png")))
    known, cut = [1, 1, UNKNOWN, UNKNOWN], [1, UNKNOWN, UNKNOWN, UNKNOWN]
    assert masks(source, 0) == [known] * 4
    (source,) = film_sources(folder, ClipForm(17, 10, film[0] / "films")).sources
    assert masks(source, 17) == [known, cut, known]
    assert main(["data", "records", "film_folder", str(folder), "--out", str(tmp_path / "out"), "--size", "52x80"]) == 0
    page = data_page(tmp_path / "out", {"train": open_records(tmp_path / "out", "train")}, 1, 1)
    assert "SC01_SH010, interior 1 frame" in page and "roles at end" in page and "roles at interior" not in page


def test_a_film_is_entered_near_what_is_read_of_it(film: tuple, tmp_path: Path) -> None:
    path, times = film[0] / "films" / "deep" / "a.mkv", film[1]
    frames = list(frames_since(path, 5.0))
    assert 2.0 < frames[0].seconds <= 5.0 and round(1000 * frames[-1].seconds) == times[-1]
    whole = {round(1000 * frame.seconds): frame.rgb() for frame in film_frames(path)}
    assert all(np.array_equal(frame.rgb(), whole[round(1000 * frame.seconds)]) for frame in frames[::7])
    with av.open(path) as source, av.open(tmp_path / "a.h264", "w") as bare:  # has no times and cannot be entered
        stream = bare.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                bare.mux(packet)
    assert [frame.index for frame in frames_since(tmp_path / "a.h264", 5.0)] == list(range(len(times)))


def test_what_is_refused(film: tuple, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder, out = film[0], tmp_path / "out"

    def told(*flags: object) -> str:
        assert records_of(folder, out, "--size", "16x16", *flags) == 2 and not out.exists()
        return capsys.readouterr().err

    assert "found one of --clips and --films, expected both" in told("--clips", 17)
    assert "expected 4 k + 1 frames, such as 17 or 81" in told("--clips", 16, "--films", folder)
    assert "found only shots that are too short for a clip (4)" in told("--clips", 81, "--fps", 1, "--films", folder)
    assert f"{tmp_path}: found none of this name, expected a.mkv" in told("--clips", 17, "--films", tmp_path)
    (tmp_path / "a.mkv").write_bytes(b"x")
    assert "a.mkv, which is another film, expected a.mkv" in told("--clips", 17, "--films", tmp_path)
    old = tmp_path / "old"
    shutil.copytree(folder / "shots", old)
    shots = [ShotRecord(**vars(shot) | {"start_seconds": None}) for shot in read_shots(old).shots]
    write_shots(old, shots)
    with pytest.raises(InputError, match="SC01_SH010: found no start_seconds and end_seconds, expected an ingest that says"):
        film_sources(old, ClipForm(17, 10, folder))
    flags = ["--out", str(out), "--size", "16x16", "--clips", "17", "--films", str(folder)]
    assert main(["data", "records", "constoryboard", str(folder), *flags]) == 2
    assert "found constoryboard, which holds no films" in capsys.readouterr().err
