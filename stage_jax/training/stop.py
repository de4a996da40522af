"""Stopping a run from outside: SIGTERM asks it to save and to end."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import jax
from jax.experimental import multihost_utils


class StoppedEarly(SystemExit):
    """Ends the process with 0: it was told to stop when nothing was there to save."""


class Stop:
    """As a context, hears SIGTERM. Before `begin` it raises StoppedEarly, wherever the process is; after it, `asked` tells.
    Off the main thread, where Python has no signals, it never hears. Where several processes run, JAX hears it for all of
    them, from the first step on."""

    def __enter__(self) -> Stop:
        self._begun = self._asked = False
        self._hears = threading.current_thread() is threading.main_thread() and not jax.distributed.is_initialized()
        if self._hears:
            self._before = signal.signal(signal.SIGTERM, self._hear)
        return self

    def begin(self) -> None:
        """From here on there is something to save."""
        self._begun = True

    def asked(self, step: int) -> bool:
        """Whether to end after this step; every step has to ask. Processes end after the same one, whichever was told."""
        return self._asked or multihost_utils.reached_preemption_sync_point(step)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if not self._begun:
            raise StoppedEarly(0)
        self._asked = True

    def __exit__(self, *_: object) -> None:
        if self._hears:
            signal.signal(signal.SIGTERM, self._before)
