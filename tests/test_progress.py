"""The progress line: what it says, and how often."""

from __future__ import annotations

import io

import pytest

from stage_jax.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """Time that moves when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_elsewhere_a_line_every_few_seconds_and_at_the_end() -> None:
    clock, stream = Clock(), io.StringIO()
    with Progress(stream, clock) as progress:
        for done in range(13):
            clock.now = float(done)
            progress.step("pairs", done, 12)
    assert stream.getvalue().splitlines() == [
        "pairs: 0/12",
        "pairs: 5/12  1.00/s  7 s left",
        "pairs: 10/12  1.00/s  2 s left",
        "pairs: 12/12  1.00/s  12 s in all",
    ]


def test_on_a_terminal_one_line_is_written_again() -> None:
    clock, stream = Clock(), Terminal()
    with Progress(stream, clock) as progress:
        for done in (1, 2, 3):
            clock.now = done * 100.0
            progress.step("clips", done, 4)
        progress.say("a word")
    parts = stream.getvalue().split("\r")
    assert parts[0] == "" and parts[1] == "clips: 1/4"
    assert parts[3].splitlines() == ["clips: 3/4  0.01/s  1 min 40 s left", "a word"]
    assert stream.getvalue().count("\n") == 2


def test_a_shorter_line_wipes_the_longer_one() -> None:
    clock, stream = Clock(), Terminal()
    progress = Progress(stream, clock)
    for now, done in ((0, 0), (36_000, 1), (36_001, 1_000)):
        clock.now = float(now)
        progress.step("x", done, 1_001)
    longer, shorter = stream.getvalue().split("\r")[2:]
    assert "10,000 h 00 min left" in longer.replace("10000", "10,000") and len(shorter) >= len(longer)


def test_each_label_has_its_own_rate() -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(stream, clock)
    for now, label, done in ((0, "a", 0), (1, "a", 100), (10, "b", 50), (20, "b", 60), (20, "b", 100)):
        clock.now = float(now)
        progress.step(label, done, 100)
    assert stream.getvalue().splitlines() == [
        "a: 0/100", "a: 100/100  100/s  1 s in all", "b: 50/100", "b: 60/100  1.00/s  40 s left",
        "b: 100/100  5.00/s  10 s in all",
    ]  # fmt: skip


@pytest.mark.parametrize("total", [0, 3])
def test_totals_that_are_unknown_or_wrong(total: int) -> None:
    clock, stream = Clock(), io.StringIO()
    progress = Progress(stream, clock)
    for now in (0, 10):
        clock.now = float(now)
        progress.step("frames", now // 2, total)
    assert stream.getvalue().splitlines()[-1].startswith("frames: 5")


def test_nothing_is_printed_without_steps() -> None:
    stream = Terminal()
    with Progress(stream):
        pass
    assert stream.getvalue() == ""
