"""Stopping a run from outside: SIGTERM asks it to save and to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils


class Stop:
    """As a context, hears SIGTERM. Off the main thread, where Python has no signals, it never does. Where several processes
    run, JAX hears it for all of them."""

    def __enter__(self) -> Stop:
        self._asked = False
        self._hears = threading.current_thread() is threading.main_thread() and jax.process_count() == 1
        if self._hears:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def asked(self, step: int) -> bool:
        """Whether to end after this step; every step has to ask. Processes end after the same one, whichever was told."""
        return self._asked or multihost_utils.reached_preemption_sync_point(step)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def __exit__(self, *_: object) -> None:
        if self._hears:
            signal.signal(signal.SIGTERM, self._before)
