"""Stopping a run from outside: SIGTERM asks it to save and to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class Stop:
    """As a context, hears SIGTERM; `asked` says whether it came. Off the main thread, where Python has no signals, it never
    does."""

    def __enter__(self) -> Stop:
        self.asked = False
        self._hears = threading.current_thread() is threading.main_thread()
        if self._hears:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self.asked = True

    def __exit__(self, *_: object) -> None:
        if self._hears:
            signal.signal(signal.SIGTERM, self._before)
