"""A profile of some steps of a run, on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict


class Trace:
    """Writes what the devices and the host did in `count` steps from step `first` on (0 is a run's first, which compiles) to
    `folder`, for XProf, TensorBoard's profile plugin or Perfetto. config: None traces nothing."""

    def __init__(self, config: ConfigDict | None, folder: Path):
        self.folder = folder
        self.steps = range(0) if config is None else range(config.first, config.first + config.count)
        self.on = False

    def before(self, step: int) -> None:
        if step in self.steps and not self.on:
            jax.profiler.start_trace(str(self.folder))
            self.on = True

    def after(self, step: int, result: Any) -> None:
        """result: what the step made, which is waited for at the end of the trace."""
        if self.on and step + 1 not in self.steps:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Ends a trace that is being written."""
        if self.on:
            jax.profiler.stop_trace()
            self.on = False
