"""Where the time of a compiled program goes on the CPU: by what it does and in which part of a training step."""

from __future__ import annotations

import collections
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import jax

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) \(.*\{$")
_INSTRUCTION = re.compile(r'^\s+(?:ROOT )?%?([\w.-]+) = .*?(?:calls=%?([\w.-]+).*)?metadata=\{[^}]*op_name="([^"]+)"')
_LOOPS = re.compile(r"(while|call|conditional)(\.|$)")  # what runs inside has events of its own


def profile(run: Callable[[], None], compiled: jax.stages.Compiled) -> dict[str, float]:
    """Share of each kind of work, largest first: "forward dot_general", "backward exp", "update add"; "other" is what the
    compiler put in by itself. Kinds are JAX's primitives; of what is fused, a product or else the last one; threads are added
    up. run: calls the program and waits for it."""
    names = _operations(compiled.as_text())
    seconds: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            run()
        (path,) = Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(path))
        for event in (event for plane in data.planes for line in plane.lines if "XLA" in line.name for event in line.events):
            if _LOOPS.match(event.name):
                continue
            if event.name in names:
                seconds[_kind(names[event.name])] += event.duration_ns
            elif re.fullmatch(r"[a-z][\w-]*\.\d+", event.name):
                seconds["other"] += event.duration_ns
    total = sum(seconds.values())
    return {kind: value / total for kind, value in seconds.most_common()}


def _operations(text: str) -> dict[str, str]:
    """Name of each instruction -> path of JAX's operation behind it."""
    operations: dict[str, str] = {}
    products: dict[str, str] = {}  # of a computation, the path of the product in it
    fused: dict[str, str] = {}
    computation = ""
    for line in text.splitlines():
        if header := _COMPUTATION.match(line):
            computation = header[1]
        elif found := _INSTRUCTION.match(line):
            name, calls, path = found.groups()
            if " dot(" in line:  # also one that took in the transposition that it is named after
                path = products[computation] = path.rpartition("/")[0] + "/dot_general"
            operations[name] = path
            if calls is not None:
                fused[name] = calls
    return operations | {name: products[calls] for name, calls in fused.items() if calls in products}


def _kind(path: str) -> str:
    """Of an operation by its path: what is differentiated stands under jvp, its backward pass under transpose."""
    phase = "backward" if "transpose(" in path else "forward" if "jvp(" in path else "update"
    return f"{phase} {path.rpartition('/')[2]}"
