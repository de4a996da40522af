"""One film in many files: all of them say the same, to the frame, each read back by another program than wrote it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import opentimelineio as otio
import pytest
from fpdf import FPDF

from stage_jax.film import pdf
from stage_jax.film.animatic import animatic_frames
from stage_jax.film.deliverables import NAMES, write_deliverables
from stage_jax.film.fcpxml import fcpxml_text
from stage_jax.film.fonts import shown
from stage_jax.film.pdf import storyboard_pdf
from stage_jax.film.storyboarder import storyboarder_names
from stage_jax.film.timecode import editing_rate, frame_rate
from stage_jax.film.timeline import edl_text, otio_text, timeline
from stage_jax.film.video import read_video, write_mp4
from stage_jax.story.board import Board, Clip, Pair
from stage_jax.story.pairs import read_picture
from tests.film.boards import make_board

NTSC = Fraction(24000, 1001)
LENGTHS = (17, 5, 9, 1, 13, 21)  # frames of the shots
EVENT = re.compile(r"(\d{3})  (S\d{5})   V     C        " + " ".join([r"(\d\d):(\d\d):(\d\d):(\d\d)"] * 4))


def uneven(fps: float) -> Board:
    """A board whose shots differ in length."""
    board = make_board()
    frames = [shot.clip.read()[np.arange(n) % 17] for shot, n in zip(board.shots, LENGTHS, strict=True)]
    shots = tuple(replace(shot, clip=Clip.of(clip)) for shot, clip in zip(board.shots, frames, strict=True))
    return replace(board, shots=shots, fps=fps)


def begins() -> list[int]:
    return [sum(LENGTHS[:i]) for i in range(len(LENGTHS) + 1)]


def edl_events(text: str) -> list[tuple[int, int, int, int]]:
    """Source in and out, record in and out of each event in timecode's frames, by the rate that the list names."""
    rate = round(float(re.search(r"\* FRAME RATE: ([\d.]+)", text)[1]))
    events = []
    for match in EVENT.finditer(text):
        codes = np.array(match.groups()[2:], int).reshape(4, 4)
        assert codes[:, 3].max() < rate
        events.append(tuple(map(int, (codes @ [3600, 60, 1, 0]) * rate + codes[:, 3])))
    return events


def fcpxml_times(text: str) -> tuple[Fraction, list[tuple[Fraction, Fraction]]]:
    """The length of the sequence, and offset and duration of its clips, in seconds."""

    def seconds(value: str) -> Fraction:
        return Fraction(re.fullmatch(r"(\d+(?:/\d+)?)s", value)[1])

    root = ElementTree.fromstring(text)
    formats = {f.get("id"): seconds(f.get("frameDuration")) for f in root.iter("format")}
    sequence = next(root.iter("sequence"))
    clips = [(seconds(clip.get("offset")), seconds(clip.get("duration"))) for clip in next(root.iter("spine"))]
    for time in (time for clip in clips for time in clip):
        assert (time / formats[sequence.get("format")]).denominator == 1  # a whole frame of the sequence
    assets = {asset.get("id"): asset for asset in root.iter("asset")}
    for clip in sequence.iter("asset-clip"):
        assert assets[clip.get("ref")].get("duration") == clip.get("duration")
    return seconds(sequence.get("duration")), clips


@pytest.mark.parametrize("fps", [8.0, 16.0, 23.976, 25.0, 29.97])
def test_timeline_edit_list_and_fcpxml_agree_to_the_frame(fps: float) -> None:
    board, rate = uneven(fps), frame_rate(fps)
    track = otio.adapters.read_from_string(otio_text(board), "otio_json").video_tracks()[0]
    ranges = [track.range_of_child_at_index(i) for i in range(len(track))]
    assert [r.start_time.value for r in ranges] + [track.duration().value] == begins()
    assert all(Fraction(r.duration.rate).limit_denominator(1001) == rate for r in ranges)
    held = editing_rate(rate) / rate
    begin = [int(held * frame) for frame in begins()]
    assert edl_events(edl_text(board)) == [(0, b - a, a, b) for a, b in pairwise(begin)]
    length, clips = fcpxml_times(fcpxml_text(board))
    assert length == begins()[-1] / rate
    assert clips == [(a / rate, n / rate) for a, n in zip(begins(), LENGTHS, strict=False)]


def test_the_films_agree_with_them(tmp_path: Path) -> None:
    """Both mp4 files, decoded: as many frames as the timeline, at its rate, and so as long."""
    board = uneven(23.976)
    total = begins()[-1]
    write_mp4(tmp_path / "film.mp4", np.concatenate([shot.clip.read() for shot in board.shots]), board.fps)
    write_mp4(tmp_path / "animatic.mp4", animatic_frames(board, 1), board.fps)
    for name in ("film.mp4", "animatic.mp4"):
        with av.open(str(tmp_path / name)) as container:
            stream = container.streams.video[0]
            assert stream.average_rate == NTSC and stream.duration * stream.time_base == total / NTSC
            assert sum(1 for _ in container.decode(stream)) == total


def test_otio_round_trip() -> None:
    """What is read from the text is what was written, and OpenTimelineIO's own reader of edit lists finds the clips in ours."""
    board = uneven(24.0)
    back = otio.adapters.read_from_string(otio_text(board), "otio_json")
    assert back.is_equivalent_to(timeline(board))
    (first, *_), (shot, *_) = list(back.find_clips()), board.shots
    assert first.name == shot.name and first.media_reference.target_url == "clips/SC01_SH010.mp4"
    assert first.metadata["stage"]["caption"] == shot.caption and first.metadata["stage"]["seed"] == 1000
    read = otio.adapters.read_from_string(edl_text(board), "cmx_3600", rate=24)
    assert [(clip.name, clip.duration().value) for clip in read.find_clips()] == [
        (shot.name, n) for shot, n in zip(board.shots, LENGTHS, strict=True)
    ]


def test_rates_that_editing_programs_have() -> None:
    rates = {1: 24, 8: 24, 10: 30, 12: 24, 15: 30, 16: 48, 20: 60, NTSC: NTSC, 24: 24, 25: 25, 60: 60, 7: None, 120: None}
    assert {rate: editing_rate(Fraction(rate)) for rate in rates} == rates
    assert edl_text(replace(make_board(), fps=7.0)) is None
    long = make_board(clips=False)
    days = replace(long, shots=tuple(replace(shot, shot=replace(shot.shot, seconds=600.0)) for shot in long.shots) * 25)
    assert edl_text(days) is None  # 25 hours
    assert edl_text(replace(days, shots=days.shots[:144])).count("FROM CLIP NAME") == 144  # a day


def test_an_edit_list_has_room_for_999_events() -> None:
    """They are numbered by three digits."""
    board = make_board(clips=False)
    many = replace(board, shots=(board.shots * 167)[:1000])
    assert edl_text(many) is None
    events = re.findall(r"^\d+", edl_text(replace(many, shots=many.shots[:999])), re.MULTILINE)
    assert events == [f"{number:03}" for number in range(1, 1000)]


def test_no_text_of_a_story_breaks_a_format() -> None:
    """Line ends, control characters and markup in every text: still one event a shot, one title, whole XML."""
    board = make_board(lambda words: f"\x01</note>]]>&\n001  AX V C\u2028*{words}\ud800")
    edl, xml = edl_text(board), fcpxml_text(board)
    assert len(edl_events(edl)) == 6 and edl.count("\n001 ") == 1 and len(edl.splitlines()) == 4 + 6 * 4
    edl.encode()
    note = next(ElementTree.fromstring(xml.encode()).iter("note"))
    assert note.text.startswith("</note>]]>& 001 AX V C *Wide shot. Mia")
    otio.adapters.read_from_string(otio_text(board), "otio_json")
    assert storyboard_pdf(board).startswith(b"%PDF")


def test_the_pdf_has_four_shots_a_page() -> None:
    rng, board = np.random.default_rng(0), make_board()
    frames = iter(rng.integers(0, 256, (2 * len(board.shots), 16, 16, 3), dtype=np.uint8))
    board = replace(board, shots=tuple(replace(shot, pair=Pair(next(frames), next(frames))) for shot in board.shots))
    for shots, pages in ((1, 1), (4, 1), (5, 2), (6, 2)):
        data = storyboard_pdf(replace(board, shots=board.shots[:shots]))
        assert len(re.findall(rb"/Type /Page\b", data)) == pages and f"/Count {pages}".encode() in data
        assert len(re.findall(rb"/Subtype /Image", data)) == 2 * shots  # every frame
    assert data == storyboard_pdf(board)


@pytest.mark.parametrize(("caption", "lines"), [("Mia waits.", 3), ("Mia waits and waits. " * 90, 1)])
def test_notes_have_the_room_that_other_words_leave(caption: str, lines: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And no word stands below the shot's own part of the page."""
    written, lay = [], pdf._lines

    def noted(page: FPDF, text: str, *given: object, **how: object) -> None:
        begin = page.get_y()
        lay(page, text, *given, **how)
        written.append((text, begin, page.get_y()))

    monkeypatch.setattr(pdf, "_lines", noted)
    board = make_board()
    shot = replace(board.shots[0], caption=caption)
    shot = replace(shot, shot=replace(shot.shot, notes="Hold it a little longer. " * 60, dialogue="Have you seen it? " * 40))
    storyboard_pdf(replace(board, shots=(shot,)))
    text, begin, end = written[-1]
    assert text.startswith("Hold it") and round((end - begin) / (pdf.SMALL * pdf.LEADING)) >= lines
    assert max(end for *_, end in written) <= pdf.MARGIN + pdf.TITLE + (210 - 2 * pdf.MARGIN - pdf.TITLE) / pdf.ROWS


def test_letters_that_the_font_lacks_are_squares(recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture) -> None:
    assert shown("Mia Ωμέγα Привет שלום عالم 😀 帽 🎩") == "Mia Ωμέγα Привет שלום عالم 😀 □ □"
    long = make_board(lambda words: "帽🎩 שלום " * 500 + words)
    assert storyboard_pdf(replace(long, shots=long.shots[:1])).startswith(b"%PDF")
    assert caplog.records == [] and len(recwarn) == 0


def test_the_animatic_shows_each_frame_half_of_its_shot() -> None:
    board = uneven(8.0)
    frames = list(animatic_frames(board, 2))
    assert len(frames) == begins()[-1] and len({frame.shape for frame in frames}) == 1
    first, last = board.shots[0].pair.start.repeat(2, 0).repeat(2, 1), board.shots[-1].pair.end.repeat(2, 0).repeat(2, 1)
    assert [np.array_equal(frame[:128], first) for frame in frames[:10]] == [True] * 9 + [False]
    assert np.array_equal(frames[-1][:128], last) and not np.array_equal(frames[-1][128:], frames[-2][128:])
    assert frames[0].shape[0] % 2 == 0


def test_all_are_written_and_storyboarder_has_two_boards_a_shot(tmp_path: Path) -> None:
    board = uneven(8.0)
    write_deliverables(board, tmp_path)
    made = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert made == {*NAMES, *storyboarder_names([shot.name for shot in board.shots])}
    assert len(read_video(tmp_path / "animatic.mp4")) == begins()[-1]
    project = json.loads((tmp_path / "storyboarder/film.storyboarder").read_text())
    boards = project["boards"]
    assert [b["shot"] for b in boards] == [f"{n}{which}" for n in range(1, 7) for which in "AB"]
    assert [b["newShot"] for b in boards] == [True, False] * 6 and len({b["uid"] for b in boards}) == 12
    ends = [b["time"] + b["duration"] for b in boards]
    assert [0, *ends[:-1]] == [b["time"] for b in boards] and ends[1::2] == [round(f * 125) for f in begins()[1:]]
    for index, each in enumerate(boards):
        pair = board.shots[index // 2].pair
        picture = read_picture(tmp_path / "storyboarder/images" / each["layers"]["reference"]["url"])
        assert np.array_equal(picture, pair.end if index % 2 else pair.start)
