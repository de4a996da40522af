"""Films into shots: the cuts of a real film, what is taken, and what is refused without a trace."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_pipeline.ingest.film import ingest_film
from data_pipeline.ingest.films import ingest_films
from data_pipeline.ingest.shots import Bars, FilmShots, ShotRecord, read_shots
from stage_jax import files
from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.story.pairs import read_pairs
from stage_jax.story.types import Scene, Shot, Story

FILM = Path(__file__).parents[1] / "data" / "big_buck_bunny_160x90.mp4"
SHOTS = [(0, 282), (283, 375), (376, 550), (551, 719)]


def make_film(path: Path, shots: Sequence[tuple[Sequence[int], int]], rate: int = 12, size: int = 64) -> None:
    """A film of plain colours: (colour, frames) for each shot; a white square moves in each that is not nearly black."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"crf": "10", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv444p"
        for colour, frames in shots:
            for i in range(frames):
                picture = np.full((size, size, 3), colour, np.uint8)
                if max(colour) > 9:
                    picture[8:16, i % 40 : i % 40 + 8] = 255
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ingest(film: Path, out: Path) -> list[ShotRecord]:
    return list(ingest_film(film, out).shots)


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ShotRecord], list[tuple[str, int, int]]]:
    seen: list[tuple[str, int, int]] = []
    out = tmp_path_factory.mktemp("ingest") / "new" / "out"
    return out, list(ingest_film(FILM, out, lambda *step: seen.append(step)).shots), seen


def test_the_four_shots_of_a_real_film(ingested: tuple) -> None:
    """It begins with a fade-in, whose frames are in the first shot and are not taken; one shot tilts, one comes nearer."""
    out, records, seen = ingested
    assert [(r.first_frame, r.last_frame) for r in records] == SHOTS
    assert [(r.start_frame, r.end_frame) for r in records] == [(50, 280), (285, 373), (378, 548), (553, 717)]
    assert all(r.start_frame < r.interior_frames[0] < r.interior_frames[1] < r.end_frame for r in records)
    assert [r.camera.words for r in records] == ["tilt down", "static", "static", "zoom in"]
    assert [r.transition for r in records] == ["fade", "cut", "cut", "cut"] and {r.bars for r in records} == {Bars()}
    assert read_shots(out) == FilmShots(out, tuple(records))
    lines = [json.loads(line) for line in (out / "shots.jsonl").read_text().splitlines()]
    assert lines[1]["film"] == FILM.name and lines[1]["kept"] is True and lines[1]["index"] == 1
    assert lines[1]["name"] == "SC01_SH020" and lines[1]["story"] == 1
    assert seen == [("frames", n, 720) for n in range(1, 721)] + [("pictures", n, 16) for n in range(1, 17)]


def test_the_frames_written_are_those_named(ingested: tuple) -> None:
    out, records, _ = ingested
    frames, film = decoded(FILM), FilmShots(out, tuple(records))
    for record in records:
        taken = (record.start_frame, *record.interior_frames, record.end_frame)
        for path, index in zip(film.pictures(record), taken, strict=True):
            assert np.array_equal(np.asarray(Image.open(path)), frames[index])


def test_a_story_takes_them_as_pairs(ingested: tuple) -> None:
    shots = tuple(Shot(f"SH0{n}0", "d") for n in (1, 2, 3, 4))
    pairs = read_pairs(ingested[0], Story("T", scenes=(Scene("SC01", shots=shots),)))
    assert [pair.start.shape for pair in pairs.values()] == [(90, 160, 3)] * 4


def test_cuts_between_colours_of_one_brightness_are_found(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((200, 0, 0), 20), ((0, 0, 200), 20), ((0, 200, 0), 20)])
    records = ingest(tmp_path / "a.mp4", tmp_path / "out")
    assert [(r.first_frame, r.last_frame) for r in records] == [(0, 19), (20, 39), (40, 59)]


def test_what_is_dropped_is_listed_with_the_reason(tmp_path: Path) -> None:
    red, green, black = (90, 0, 0), (0, 200, 0), (0, 0, 9)
    make_film(tmp_path / "a.mp4", [(red, 24), (green, 11), ((0, 0, 200), 12), (black, 13), (red, 24)])
    records = ingest(tmp_path / "a.mp4", tmp_path / "out")
    taken = [(r.kept, r.start_frame, r.end_frame, r.reason) for r in records]
    assert taken == [
        (True, 2, 21, ""),
        (False, None, None, "shorter than 1 s, or than 8 frames"),
        (True, 37, 44, ""),
        (False, None, None, "nearly black"),
        (False, None, None, "the same as shot 0"),
    ]
    pictures = {path.name for record in records if record.kept for path in FilmShots(tmp_path, ()).pictures(record)}
    assert set(names(tmp_path / "out")) == {*pictures, "film.json", "shots.jsonl"} and len(pictures) == 8


def test_at_few_frames_a_second_start_and_end_differ(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 7)], rate=2)
    (record,) = ingest(tmp_path / "a.mp4", tmp_path / "out")
    assert not record.kept and "8 frames" in record.reason


def test_an_earlier_ingest_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 20), ((0, 90, 0), 20)])
    make_film(tmp_path / "b.mp4", [((90, 0, 0), 20)])
    ingest(tmp_path / "a.mp4", tmp_path / "out")
    (record,) = ingest(tmp_path / "b.mp4", tmp_path / "out")
    assert {path.name for path in FilmShots(tmp_path, ()).pictures(record)} < set(names(tmp_path / "out"))
    assert len(names(tmp_path / "out")) == 6
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert ingest(tmp_path / "b.mp4", tmp_path / "out") == [record]  # the same film is not done again
    with pytest.raises(InputError, match=r"out: found notes.txt in it, expected an empty folder or an earlier ingest"):
        ingest(tmp_path / "a.mp4", tmp_path / "out")
    assert names(tmp_path) == ["a.mp4", "b.mp4", "out"] and "notes.txt" in names(tmp_path / "out")
    with pytest.raises(InputError, match=r"a.mp4: found a file"):
        ingest(tmp_path / "b.mp4", tmp_path / "a.mp4")


def test_many_films_and_one_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    make_film(tmp_path / "a.mp4", [((90, 0, 0), 20)])
    make_film(tmp_path / "b.mkv", [((0, 90, 0), 20)])
    (tmp_path / "bad.mp4").write_text("no film")
    (tmp_path / "out" / ".b.x.partial").mkdir(parents=True)  # what a killed run leaves
    films = [str(tmp_path / name) for name in ("a.mp4", "bad.mp4", "b.mkv")]
    assert main(["data", "ingest", *films, "--out", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [f"{name}  SC01_SH010  0-19  frames 2 and 17 taken" for name in "ab"]
    assert f"{tmp_path / 'bad.mp4'}: not a film" in captured.err
    assert captured.err.splitlines()[-1].endswith(f"1 of 3 films were passed over: {tmp_path / 'bad.mp4'}")
    assert names(tmp_path / "out") == ["a", "b"]
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    assert main(["data", "ingest", *films[::2], "--out", str(tmp_path / "out")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert main(["data", "ingest", films[0], str(tmp_path / "A.mkv"), "--out", str(tmp_path / "out")]) == 2
    assert "expected films of different names" in capsys.readouterr().err


def test_transitions_by_weights_that_are_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In place of the network something that marks the last frame of a shot as it does; an ingest by weights is another one."""
    from flax import nnx  # not above: Beam's environment, which takes `make_film` from here, is without JAX

    from stage_jax.models.transnet import TransNet, TransNetConfig

    make_film(tmp_path / "a.mp4", [((200, 0, 0), 20), ((0, 0, 200), 60), ((0, 200, 0), 20)])
    (tmp_path / "weights.pth").write_bytes(b"weights")
    model = nnx.eval_shape(lambda: TransNet(TransNetConfig(), nnx.Rngs(0)))

    def sees(_: object, frames: np.ndarray) -> np.ndarray:
        changes = np.abs(np.diff(frames.astype(np.float32), axis=0)).mean((1, 2, 3)) > 50
        return np.append(changes, False).astype(np.float32)

    monkeypatch.setattr("data_pipeline.ingest.neural.neural_network", lambda _: model)
    monkeypatch.setattr("data_pipeline.ingest.neural._probabilities", sees)
    plain = ingest(tmp_path / "a.mp4", tmp_path / "out")
    by_weights = ingest_film(tmp_path / "a.mp4", tmp_path / "out", transnet=tmp_path / "weights.pth").shots
    assert [(r.first_frame, r.last_frame) for r in by_weights] == [(0, 19), (20, 79), (80, 99)]
    assert [r.first_frame for r in plain] == [0, 20, 80] and [r.transition for r in by_weights] == ["", "cut", "cut"]
    assert json.loads((tmp_path / "out" / "film.json").read_text())["transnet"] == hashlib.sha256(b"weights" * 2).hexdigest()


KILLED = """
import itertools, os, signal, sys
from pathlib import Path
from data_pipeline.ingest.films import ingest_films
*films, out = map(Path, sys.argv[1:])
for after in (3, 43, 60, 5, 44):
    if not (child := os.fork()):
        steps = itertools.count()
        ingest_films(films, out, lambda *_: next(steps) < after or os.kill(os.getpid(), signal.SIGKILL))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
"""


def test_five_kills_leave_the_same_bytes(tmp_path: Path) -> None:
    """Among the frames and the pictures of the first film of 48 steps, then, when that is done, of the second."""
    films = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for film, colour in zip(films, [(0, 90, 0), (90, 0, 0)], strict=True):
        make_film(film, [(colour, 20), ((0, 0, 200), 20)])
    one, other = tmp_path / "one", tmp_path / "other"
    ingest_films(films, one)
    subprocess.run([sys.executable, "-c", KILLED, *map(str, films), str(other)], check=True)
    assert [name.split(".")[1:][:1] for name in names(other)] == [["b"], []]  # what the last kill left, and the first film
    ingest_films(films, other)
    files = [{path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()} for out in (one, other)]
    assert files[0] == files[1] and len(files[0]) == 2 * (8 + 2)


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
