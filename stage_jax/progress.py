"""How far a long job is, on one line of stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from io import TextIOBase

ON_TERMINAL, ELSEWHERE = 0.1, 5.0  # seconds between two prints


class Progress:
    """Prints "label: 3/20  1.5/s  11 s left", in place on a terminal, else every few seconds and at the end.

    As a context it ends its line. `clock` returns seconds. A label's rate counts from its own first step.
    """

    def __init__(self, stream: TextIOBase | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._clock = clock
        self._terminal = self._stream.isatty()
        self._label, self._began, self._from = "", 0.0, 0
        self._printed = -ELSEWHERE
        self._width = 0  # of the line that stands on the terminal

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def step(self, label: str, done: int, total: int) -> None:
        """`done` of `total` (0: nobody knows) steps of `label` are done."""
        now = self._clock()
        if label != self._label:
            self.close()
            self._label, self._began, self._from = label, now, done
            self._printed = now - ELSEWHERE  # a new label shows at once
        ended = done >= total > 0
        if not ended and now - self._printed < (ON_TERMINAL if self._terminal else ELSEWHERE):
            return
        self._printed = now
        self._print(self._line(done, total, now - self._began))
        if ended:
            self.close()

    def say(self, line: str) -> None:
        """A line of its own."""
        self.close()
        print(line, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the line that is being updated, if there is one."""
        if self._width:
            print(file=self._stream, flush=True)
        self._label, self._width = "", 0

    def _line(self, done: int, total: int, seconds: float) -> str:
        parts = [f"{self._label}: {done:,}/{total:,}" if total else f"{self._label}: {done:,}"]
        made = done - self._from
        if made > 0 and seconds > 0:
            rate = made / seconds
            parts.append(f"{rate:.2f}/s" if rate < 10 else f"{rate:,.0f}/s")
            parts.append(f"{_duration((total - done) / rate)} left" if done < total else f"{_duration(seconds)} in all")
        return "  ".join(parts)

    def _print(self, line: str) -> None:
        if not self._terminal:
            print(line, file=self._stream, flush=True)
            return
        print(f"\r{line:<{self._width}}", end="", file=self._stream, flush=True)
        self._width = len(line)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    hours, minutes = whole // 3600, whole % 3600 // 60
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {whole % 60:02d} s" if minutes else f"{whole} s"
