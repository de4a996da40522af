from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from stage_jax.film.timecode import frame_rate, shot_spans, timecode
from tests.film.boards import make_board


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        *((float(n), Fraction(n)) for n in (1, 2, 3, 4, 5, 8, 23)),
        (4.996, Fraction(4.996).limit_denominator(1001)),  # no NTSC rate: those begin at 23.976
        (23.976, Fraction(24000, 1001)),
        (23.98, Fraction(24000, 1001)),
        (24.0, Fraction(24)),
        (25.0, Fraction(25)),
        (29.97, Fraction(30000, 1001)),
        (59.94, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
    ],
)
def test_rates(fps: float, rate: Fraction) -> None:
    assert frame_rate(fps) == rate


def test_timecode_counts_frames_at_the_whole_rate() -> None:
    assert timecode(0, 8.0) == "00:00:00:00"
    assert timecode(102, 8.0) == "00:00:12:06"
    assert timecode(24 * 3600 + 23, 23.976) == "01:00:00:23"


def test_shots_lie_end_to_end() -> None:
    assert shot_spans(make_board()) == tuple((17 * n, 17 * n + 17) for n in range(6))
    planned = make_board(clips=False)
    assert shot_spans(planned)[-1] == (80, 96)
    assert shot_spans(replace(planned, shots=())) == ()
