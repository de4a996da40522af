"""`stage bench data`: our loader against torch's DataLoader, the same work on the same records with as many workers.

Both fill batches of clip windows from toy records, by the same functions; a round is a number of batches. Then a tiny STEP2
trains, and the share of its time that it waits for data is taken.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from data_pipeline.toy_records import write_toy_records
from stage_jax.bench.contest import Contender, Timing, compete
from stage_jax.errors import InputError

OURS, PEER = "stage_jax", "torch DataLoader"
BATCHES = "batches"
Report = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Task:
    """stories of `size` pixels a side, of which the clip windows of `frames` frames are; few: those that the training learns
    from; batch: windows; batches: a round. ahead: batches that each worker may make ahead; they are made while the other
    contender is at work, and so have to be few beside those of a round."""

    stories: int = 1000
    few: int = 60
    size: int = 64
    frames: int = 9
    batch: int = 16
    batches: int = 200
    workers: int = 2
    ahead: int = 8
    steps: int = 60


@dataclasses.dataclass(frozen=True)
class DataBench:
    """timing: of a round of batches. first: seconds from the making of a loader, with everything imported, until its first
    batch is there, by the contender's name. waiting: share of the training's time. step_seconds: of one step of it."""

    timing: Timing
    first: Mapping[str, float]
    waiting: float
    step_seconds: float
    setting: dict[str, Any]

    def samples_per_second(self, name: str) -> float:
        """Median over the rounds."""
        return self.setting["batch"] * self.setting["batches"] / statistics.median(self.timing.seconds[name])

    def ratio(self) -> float:
        """Our samples a second to the peer's, median of paired rounds; above 1 we are the faster one."""
        return self.timing.ratio(PEER, OURS)


def bench_data(task: Task, *, rounds: int, threads: int | None = None, progress: Report | None = None) -> DataBench:
    """Times both. InputError if torch is not installed, or if both do not give batches of the same shape and type."""
    if not importlib.util.find_spec("torch"):
        raise InputError("bench data: torch is not installed, expected the extra `torch` (pip install 'stage_jax[torch]')")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        report = (lambda done, total: progress("stories", done, total)) if progress else None
        write_toy_records(place / "toy", {"train": task.stories}, size=task.size, progress=report)
        write_toy_records(place / "few", {"train": task.few}, size=task.size, clips=False)
        (place / "task.json").write_text(json.dumps(dataclasses.asdict(task)))
        contenders = [
            Contender(OURS, "stage_jax.bench.data_jax", (folder,)),
            Contender(PEER, "stage_jax.bench.data_torch", (folder,)),
        ]

        first: dict[str, float] = {}

        def check() -> None:
            told = {name: json.loads((place / f"{file}.json").read_text()) for name, file in ((OURS, "ours"), (PEER, "peer"))}
            first.update({name: values.pop("first") for name, values in told.items()})
            if told[OURS] != told[PEER]:
                raise InputError(f"bench data: the loaders give {told[OURS]} and {told[PEER]}, expected the same")

        (timing,) = compete(contenders, (BATCHES,), rounds=rounds, cpus=threads, ready=check, progress=progress)
        waiting, step = _training(place)
    versions = {package: importlib.metadata.version(package) for package in ("grain", "torch", "jax")}
    setting = {"threads": threads or len(os.sched_getaffinity(0)), "versions": versions} | dataclasses.asdict(task)
    return DataBench(timing, first, waiting, step, setting)


def _training(place: Path) -> tuple[float, float]:
    """Share of waiting and seconds of a step, of a tiny STEP2 in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "stage_jax.bench.data_training", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise InputError(f"bench data: the tiny training ended with code {done.returncode}: {done.stderr.strip()[-300:]}")
    told = json.loads(done.stdout.splitlines()[-1])
    return told["waiting"], told["step_seconds"]


