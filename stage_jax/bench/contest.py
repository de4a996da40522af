"""Two programs that do the same work, timed in turns.

Each contender is a process of its own, so that neither's threads, caches or imports touch the other's. It prints a line of
JSON when it is ready, then one for every name of a piece of work that it reads from stdin: the seconds it took.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from stage_jax.errors import InputError

Work = Callable[[], None]
GRACE = 10.0  # seconds that a contender has to end


@dataclasses.dataclass(frozen=True)
class Contender:
    """module: what `python -m` runs. arguments: what it is told."""

    name: str
    module: str
    arguments: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Timing:
    """seconds: of the contender by name, a value per round. The ratio is taken round by round, as the load of a machine
    changes slowly."""

    work: str
    seconds: Mapping[str, tuple[float, ...]]

    def ratios(self, ours: str, peer: str) -> tuple[float, ...]:
        return tuple(a / b for a, b in zip(self.seconds[ours], self.seconds[peer], strict=True))

    def ratio(self, ours: str, peer: str) -> float:
        """Median of the paired ratios; below 1 we are the faster one."""
        return statistics.median(self.ratios(ours, peer))


def compete(
    contenders: Sequence[Contender],
    works: Sequence[str],
    *,
    rounds: int,
    cpus: int | None = None,
    ready: Callable[[], None] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Timing]:
    """Runs every piece of work `rounds` times on each contender, A B, B A, A B, after a round that does not count.

    cpus: how many of this process's processors both may use (told by Linux only). ready: called when all contenders are.
    InputError if there are fewer processors, or if a contender dies."""
    available = sorted(os.sched_getaffinity(0))
    if cpus is not None and cpus > len(available):
        raise InputError(f"--threads: found {cpus}, expected at most the {len(available)} processors of this machine")
    places = available[:cpus]
    running: dict[str, subprocess.Popen[str]] = {}
    seconds: dict[str, dict[str, list[float]]] = {work: {c.name: [] for c in contenders} for work in works}
    try:
        for contender in contenders:
            running[contender.name] = _start(contender, places)
        for contender in contenders:
            _listen(contender, running[contender.name])
        if ready:
            ready()
        for done in range(rounds + 1):
            for work in works:
                for contender in contenders if done % 2 else contenders[::-1]:
                    took = _ask(contender, running[contender.name], work)
                    if done:
                        seconds[work][contender.name].append(took)
            if progress:
                progress("rounds", done, rounds)
    finally:
        for process in running.values():
            _end(process)
    return [Timing(work, {name: tuple(values) for name, values in seconds[work].items()}) for work in works]


def _start(contender: Contender, places: Sequence[int]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", contender.module, *contender.arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(len(places)), "JAX_PLATFORMS": "cpu"},
        preexec_fn=lambda: os.sched_setaffinity(0, places),
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Lets a contender end by itself, which its workers like better, and ends it if it does not."""
    with suppress(BrokenPipeError):
        process.stdin.close()
    try:
        process.wait(timeout=GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _ask(contender: Contender, process: subprocess.Popen[str], work: str) -> float:
    """Seconds that one piece of work took."""
    with suppress(BrokenPipeError):  # it has died; what it had to say is said by _listen
        print(work, file=process.stdin, flush=True)
    return _listen(contender, process)["seconds"]


def _listen(contender: Contender, process: subprocess.Popen[str]) -> dict[str, Any]:
    line = process.stdout.readline()
    if not line:
        raise InputError(f"{contender.name}: ended with code {process.wait()} before its work was done (its words are above)")
    return json.loads(line)


def serve(works: Mapping[str, Work], **ready: Any) -> None:
    """A contender's side: says that it is ready, then does what it is told, line by line."""
    print(json.dumps(ready), flush=True)
    for line in sys.stdin:
        began = time.perf_counter()
        works[line.strip()]()
        print(json.dumps({"seconds": time.perf_counter() - began}), flush=True)
