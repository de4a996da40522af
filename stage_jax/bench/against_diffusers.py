"""What the benchmarks against diffusers share: two programs on the same task, which have to agree before their times count."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from safetensors.numpy import load_file

from stage_jax.bench.contest import Contender, Timing, compete
from stage_jax.errors import InputError

OURS, PEER = "stage_jax", "diffusers"
AGREE = 1e-4  # both compute in float32, with sums in another order

Arrays: TypeAlias = Mapping[str, np.ndarray]
Report: TypeAlias = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Bench:
    """differences: of what is compared, relative to the peer's largest value. setting: what was timed, where, with which
    versions."""

    timings: tuple[Timing, ...]
    differences: dict[str, float]
    setting: dict[str, Any]


def against_diffusers(
    name: str,
    write_task: Callable[[Path], Mapping[str, Any]],
    works: Sequence[str],
    compare: Callable[[Arrays, Arrays], dict[str, float]],
    *,
    rounds: int,
    threads: int | None,
    progress: Report | None = None,
) -> Bench:
    """Times `stage_jax.bench.NAME_jax` and `NAME_torch` in turns, after comparing what they left in the task's folder.

    write_task: makes the task in a folder and says what it is. compare: ours, the peer's -> relative differences. InputError
    if one is beyond `AGREE` or not a number, or if diffusers is not installed.
    """
    if not (importlib.util.find_spec("torch") and importlib.util.find_spec("diffusers")):
        raise InputError("bench: diffusers is not installed, expected the extra `torch` (pip install 'stage_jax[torch]')")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        task = dict(write_task(place))
        contenders = [
            Contender(OURS, f"stage_jax.bench.{name}_jax", (folder,)),
            Contender(PEER, f"stage_jax.bench.{name}_torch", (folder,)),
        ]
        differences: dict[str, float] = {}

        def check() -> None:
            ours, peer = (load_file(place / f"{who}.safetensors") for who in (OURS, PEER))
            differences.update(agreeing(compare(ours, peer)))

        timings = compete(contenders, works, rounds=rounds, cpus=threads, ready=check, progress=progress)
    versions = {package: importlib.metadata.version(package) for package in ("jax", "torch", "diffusers")}
    setting = {"threads": threads or len(os.sched_getaffinity(0)), "versions": versions}
    return Bench(tuple(timings), differences, setting | task)


def agreeing(differences: dict[str, float]) -> dict[str, float]:
    """The differences, if all of them are small. A ratio counts only between programs that do the same."""
    if wrong := [name for name, value in differences.items() if not value <= AGREE]:
        raise InputError(f"bench: {wrong[0]} differ by {differences[wrong[0]]:.1e}, expected at most {AGREE:.0e}")
    return differences
