"""Ingest on toy films whose shots, joins, cameras and bars are known."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from data_pipeline.ingest.analyse import FoundShot
from data_pipeline.ingest.bars import bars_of, narrowest
from data_pipeline.ingest.camera import camera_of
from data_pipeline.ingest.decode import FilmFrame
from data_pipeline.ingest.film import ingest_film
from data_pipeline.ingest.keep import Keep
from data_pipeline.ingest.measure import Sampler, ShotMeasures
from data_pipeline.ingest.shots import Bars, Camera, FilmShots
from data_pipeline.ingest.stories import Stories
from data_pipeline.toy_cinema.full import stories
from data_pipeline.toy_cinema.full.films import film_frames
from data_pipeline.toy_cinema.full.montage import DISSOLVE, FADE, Join, joined, spans
from data_pipeline.toy_cinema.full.render import render_shot

HEIGHT, WIDTH, RATE = 90, 160, 12
STORY = stories.random_story(100)


def write(path: Path, frames: Iterator[np.ndarray], pixels: str = "yuv420p", turned: int = 0, uneven: bool = False) -> None:
    """turned: degrees of the display matrix. uneven: frames come at times that are not."""
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "14", "preset": "ultrafast"})
        for i, frame in enumerate(frames):
            if not i:
                stream.height, stream.width = frame.shape[:2]
                stream.pix_fmt, stream.codec_context.time_base = pixels, Fraction(1, 120)
                if turned:
                    stream.set_display_rotation(turned)
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts, picture.time_base = 10 * i + 4 * (uneven and i % 2), Fraction(1, 120)
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def shots(number: int, frames: int, size: tuple[int, int] = (HEIGHT, WIDTH)) -> list[Iterator[np.ndarray]]:
    return [film_frames(STORY, k, frames, *size) for k in range(number)]


def ingest(folder: Path, frames: Iterator[np.ndarray], **how: object) -> FilmShots:
    write(folder / "a.mp4", frames, **how)
    return ingest_film(folder / "a.mp4", folder / "out")


def test_the_wide_film_shows_what_the_square_picture_does() -> None:
    last = list(film_frames(STORY, 0, 3, 90, 160))[-1]
    top = round(38.0 * 160 / 64 - 45)
    square = render_shot(STORY, STORY.shots[0], 1.0, 160)
    assert np.abs(last.astype(int) - square[top : top + 90]).mean() < 3


def test_dissolves_and_fades_are_between_shots_and_not_in_what_is_taken(tmp_path: Path) -> None:
    lengths, joins = [44, 46, 44], [Join(DISSOLVE, 8), Join(FADE, 8, 4)]
    film = ingest(tmp_path, joined(shots(3, 46), lengths, joins))
    true = spans(lengths, joins)
    assert [shot.transition for shot in film.shots] == ["", "dissolve", "fade"]
    for shot, (first, last) in zip(film.shots, true, strict=True):
        assert shot.first_frame - 1 <= first <= shot.start_frame <= first + 6
        assert last - 6 <= shot.end_frame <= last <= shot.last_frame + 1


def test_bars_are_cut_off_shot_by_shot(tmp_path: Path) -> None:
    one, two = (list(clip) for clip in shots(2, 14))
    barred = [np.pad(frame[11:79], ((11, 11), (0, 0), (0, 0))) for frame in one]
    film = ingest(tmp_path, iter([*barred, *two]))
    assert [shot.bars for shot in film.shots] == [Bars(11, 11, 0, 0), Bars()]
    sizes = [Image.open(path).size for shot in film.shots for path in film.pictures(shot)]
    assert sizes == [(160, 68)] * 4 + [(160, 90)] * 4
    assert [(shot.first_frame, shot.last_frame) for shot in film.shots] == [(0, 13), (14, 27)]


def test_bars_of_single_pictures() -> None:
    picture = np.full((90, 160), 99, np.uint8)
    picture[:10] = picture[-10:] = 16
    assert bars_of(picture) == Bars(10, 10, 0, 0)
    picture[:10] = 99
    assert bars_of(picture) == Bars()  # dark at one side only
    assert bars_of(np.full((90, 160), 16, np.uint8)) is None
    assert narrowest(Bars(10, 10, 4, 4), Bars(12, 9, 0, 0)) == Bars(10, 9, 0, 0)


def test_bars_where_a_stream_changes_its_size() -> None:
    """The small pictures keep the form of the first frame, upright here; a wide one with bars at its sides follows."""
    wide = np.full((360, 640, 3), 99, np.uint8)
    wide[:, :200] = wide[:, -200:] = 0
    frame = FilmFrame(0, 0.0, av.VideoFrame.from_ndarray(wide, format="rgb24"), 1, 24.0, Fraction(1))
    sample = Sampler(24.0)(frame, frame.rgb((284, 160)))
    assert sample.bars == Bars(0, 0, 200, 200) and (sample.cells == 99).all() and sample.colours.max() == 1


def test_stories_end_with_fades_other_colours_and_twelve_shots() -> None:
    """A fade counts, too, where the shot that it leads to is not kept."""

    def told(shots: list[tuple[int, str, bool]]) -> list[str]:
        found = []
        for colour, transition, kept in shots:
            measures = ShotMeasures(samples=1, colours=np.eye(64, dtype=np.float32)[colour])
            found.append(stories_of.name(FoundShot(0, 23, 0, 23, 1.0, transition, 24.0, measures), kept))
        return found

    stories_of = Stories()
    assert told([(0, "", True), (0, "cut", True), (1, "cut", True)]) == ["SC01_SH010", "SC01_SH020", "SC02_SH010"]
    assert told([(1, "fade", True), (1, "fade", False), (1, "cut", True)]) == ["SC03_SH010", "SC03_SH020", "SC04_SH010"]
    assert told([(1, "cut", True)] * 12)[-2:] == ["SC04_SH120", "SC05_SH010"]


def test_seconds_are_those_of_the_film() -> None:
    """Not its frames at the mean rate, here 12; mixed frames take as long as the others, alone they go by that rate."""
    shots = [(0, 29, 0, 29, 5.0), (0, 29, 10, 19, 2.0), (0, 5, 4, 3, 0.0)]
    found = [Keep("a").record(FoundShot(*shot, "", 12.0, ShotMeasures())) for shot in shots]
    assert [record.seconds for record in found] == [5.0, 6.0, 0.5]


@pytest.mark.parametrize("how", ["turned", "uneven", "odd"])
def test_other_forms_of_film(how: str, tmp_path: Path) -> None:
    """Pictures are written upright; odd sizes stay."""
    size = (91, 161) if how == "odd" else (HEIGHT, WIDTH)
    clips = joined(shots(2, 14, size), [14, 14], [Join()])
    if how == "turned":
        film = ingest(tmp_path, (np.rot90(clip) for clip in clips), turned=-90)
    elif how == "uneven":
        film = ingest(tmp_path, clips, uneven=True)
    else:
        film = ingest(tmp_path, clips, pixels="yuv444p")
    assert [(shot.first_frame, shot.last_frame) for shot in film.shots] == [(0, 13), (14, 27)]
    first = np.asarray(Image.open(film.pictures(film.shots[0])[0]))
    expected = list(film_frames(STORY, 0, 14, *size))[2]
    assert first.shape == expected.shape and np.abs(first.astype(int) - expected).mean() < 6


def test_flashes_and_whip_pans_are_no_cuts(tmp_path: Path) -> None:
    one, two = (list(clip) for clip in shots(2, 30))
    flashed = [np.maximum(frame, 245) if i in (9, 10, 20) else frame for i, frame in enumerate(one)]
    whipped = [np.roll(frame, 40 * min(max(i - 12, 0), 6), axis=1) for i, frame in enumerate(two)]
    film = ingest(tmp_path, iter([*flashed, *whipped]))
    assert [(shot.first_frame, shot.last_frame) for shot in film.shots] == [(0, 29), (30, 59)]


def test_cameras_by_what_the_picture_does() -> None:
    """The picture goes the other way than the camera."""
    assert camera_of(-0.2, 0.01, 0.0, 2.0, 16 / 9) == Camera("pan", "right", 0.1)
    assert camera_of(0.0, 0.09, 0.0, 2.0, 2.0) == Camera("tilt", "up", 0.09)
    assert camera_of(0.0, 0.0, 0.2, 2.0, 2.0).words == "zoom in"
    assert camera_of(0.001, 0.0, 0.0, 2.0, 2.0) == Camera("static")


@pytest.mark.slow
def test_cameras_of_toy_films(tmp_path: Path) -> None:
    """A story's moves at 640 x 360, of which at least nineteen in twenty are told."""
    told = []
    for seed in (100, 101, 102):
        story = stories.random_story(seed)
        clips = [film_frames(story, k, 20, 360, 640) for k in range(len(story.shots))]
        (tmp_path / str(seed)).mkdir()
        film = ingest(tmp_path / str(seed), (frame for clip in clips for frame in clip))
        told += [(shot.camera.words, truth.camera) for shot, truth in zip(film.shots, story.shots, strict=True)]
    assert np.mean([one == other for one, other in told]) >= 0.95
