"""Sweeps: one config many times, some of its values changed. A sweep is a list of changes, {dotted name: value}:

    def get_sweep():
        return [*product(values("optimizer.lr", [1e-3, 3e-3]), values("seed", [0, 1])), {"steps": 100}]
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stage_jax.errors import InputError

Changes = dict[str, Any]
LONGEST = 120  # characters of a run's name, our choice: a folder's name has 255 at most


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps done, metrics of the last logged step, whether its model is written."""

    step: int
    metrics: dict[str, float]
    finished: bool


def values(name: str, options: Iterable[Any]) -> list[Changes]:
    """A value of the config, each option in turn."""
    return [{name: option} for option in options]


def product(*sweeps: Sequence[Changes]) -> list[Changes]:
    """Each of the first with each of the second, and so on."""
    return [{name: value for changes in several for name, value in changes.items()} for several in itertools.product(*sweeps)]


def run_names(sweep: Any, where: str) -> dict[str, Changes]:
    """Name of each run, made of its changes alone, -> its changes. InputError for what is no sweep, and for a run that is in it
    twice."""
    if not isinstance(sweep, list) or not sweep or not all(_are_changes(changes) for changes in sweep):
        raise InputError(f"{where}: get_sweep returned {type(sweep).__name__}, expected a list of {{dotted name: value}}")
    named: dict[str, Changes] = {}
    for changes in sweep:
        name = _name(changes)
        if name in named:
            raise InputError(f"{where}: the run {name} is in it twice")
        named[name] = changes
    return named


def flags(changes: Changes) -> list[str]:
    """The changes as arguments of `stage train`."""
    return [f"--config.{name}={value if isinstance(value, str) else repr(value)}" for name, value in changes.items()]


def progress(workdir: Path) -> Progress:
    """Of the run in a folder, which may not have begun. InputError for a log that cannot be read."""
    log = workdir / "metrics.jsonl"
    finished = (workdir / "model" / "model.json").is_file()
    written = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
    lines = [line for line in written if line.endswith("\n")]  # a kill may have cut the last one short
    if not lines:
        return Progress(0, {}, finished)
    try:
        last = json.loads(lines[-1])
        return Progress(last["step"], {name: float(v) for name, v in last.items() if isinstance(v, int | float)}, finished)
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{log}: its last whole line is not the metrics of a step") from None


def _are_changes(changes: Any) -> bool:
    return isinstance(changes, dict) and bool(changes) and all(isinstance(name, str) and name for name in changes)


def _name(changes: Changes) -> str:
    text = ",".join(f"{name}={value}" for name, value in changes.items())
    name = re.sub(r"[^\w.=,+-]+", "_", text)
    if name == text and len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]  # what was cut or replaced may be all that two runs differ in
    return f"{name[: LONGEST - 9]}-{digest}"
