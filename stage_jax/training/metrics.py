"""What a run says of itself: a line of JSON and a summary for TensorBoard at every report, and a line for a person."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.work import Work
from stage_jax.parallel.peaks import peak_flops
from stage_jax.training.summaries import MetricWriter, ScalarWriter

Say = Callable[[str], None]
MOST_SKIPPED = 10  # steps in a row, where the config does not say (our choice)


class JsonLines(ScalarWriter):
    """A line of JSON per report: `step` and its numbers, null where one is not finite."""

    def __init__(self, path: Path, step: int):
        """Opens the log of a run that stands at `step`; lines of a later step are of a lost try and are dropped."""
        written = path.read_text().splitlines(keepends=True) if path.exists() else []
        lines = [json.loads(line) for line in written if line.endswith("\n")]  # a kill may have cut the last one short
        kept = [line for line in lines if line["step"] <= step]
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in kept))
        self.last: dict[str, Any] = kept[-1] if kept else {}
        self._path = path

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        values = {name: value if math.isfinite(value) else None for name, value in scalars.items()}
        with files.named_errors(self._path), self._path.open("a") as file:
            file.write(json.dumps({"step": step} | values) + "\n")

    def flush(self) -> None:
        """Nothing waits: every line is written at once."""

    def close(self) -> None:
        """Nothing is open."""


class Monitor:
    """Reports every `config.log_every` steps. Metrics stay on the device until the step after theirs has been given to it, so
    that it never waits for a report. `seconds` adds up from `seconds` on, over resumes."""

    def __init__(self, config: ConfigDict, writer: MetricWriter, say: Say, first: int, seconds: float):
        self._config, self._writer, self._say, self._seconds = config, writer, say, seconds
        self._peak = peak_flops(config.get("peak_flops"))
        self._pending: tuple[int, dict[str, Any], Work | None] | None = None
        self._work: Work | None = Work()
        self._reported, self._since, self._skipped = first, time.monotonic(), 0

    def __call__(self, done: int, metrics: dict[str, Any], work: Work | None) -> None:
        """`done` steps have been given to the device, the last of which did `work` and makes `metrics`. InputError if too many
        steps in a row were skipped."""
        self.flush()
        self._work = None if work is None or self._work is None else self._work + work
        if done % self._config.log_every == 0 or done == self._config.steps:
            self._pending, self._work = (done, metrics, self._work), Work()

    def flush(self) -> None:
        """Waits for the report that is due, if one is, and writes it."""
        if self._pending is None:
            return
        (done, metrics, work), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        row = int(values.pop("skipped_in_a_row"))
        now = time.monotonic()
        passed, self._since = now - self._since, now
        self._seconds += passed
        rate = (done - self._reported) / passed
        speed = {"steps_per_second": rate} | self._speed(work, passed)
        self._writer.write_scalars(done, {"seconds": round(self._seconds, 2)} | values | speed)
        self._writer.flush()
        self._say(self._line(done, values["loss"], speed))
        self._tell_skipped(done, int(values["skipped"]), row)
        self._reported = done

    def _speed(self, work: Work | None, seconds: float) -> dict[str, float]:
        if work is None or not work.tokens:
            return {}
        speed = {"tokens_per_second": work.tokens / seconds}
        if self._peak is not None:
            speed["mfu"] = work.flops / seconds / (self._peak * jax.device_count())
        return speed

    def _line(self, done: int, loss: float, speed: Mapping[str, float]) -> str:
        rate, steps = speed["steps_per_second"], self._config.steps
        parts = [f"step {done}/{steps}", f"loss {loss:.4f}", f"{rate:.2f} steps/s"]
        if "tokens_per_second" in speed:
            parts.append(f"{speed['tokens_per_second']:,.0f} tokens/s")
        if "mfu" in speed:
            parts.append(f"{speed['mfu']:.1%} MFU")
        return "  ".join([*parts, f"{(steps - done) / rate / 60:.1f} min left"])

    def _tell_skipped(self, done: int, skipped: int, row: int) -> None:
        if skipped > self._skipped:
            self._say(f"step {done}: loss or gradient was not finite in {skipped} steps so far, which were skipped")
        self._skipped = skipped
        most = self._config.get("most_skipped") or MOST_SKIPPED
        if row >= most:
            raise InputError(
                f"steps {done - row + 1} to {done}: loss or gradient was not finite {row} times in a row, config.most_skipped "
                f"is {most}; their batches are made again by the same config and seed"
            )
