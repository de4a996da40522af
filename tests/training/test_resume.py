"""A run that is killed and started again is the same run, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from stage_jax.weights.folder import read_manifest
from tests.training import sizes

ROOT = Path(__file__).parents[2]
STEPS = 9
SEED = int.from_bytes(os.urandom(4))  # another step every time; the seed is in the report of a failure

Start = Callable[..., int]


def starter(folder: Path, config: dict) -> Start:
    """start(workdir, result, *kill) -> exit code of a run of `config` in a process of its own."""
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    compiled = {  # once for all of them, since they differ in nothing but when they die; and fast rather than well
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
        "XLA_FLAGS": "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true",
    }

    def start(workdir: Path, result: Path, *kill: object) -> int:
        command = [sys.executable, "-m", "tests.training.worker", *map(str, (path, workdir, result, *kill))]
        process = subprocess.run(command, cwd=ROOT, env=os.environ | compiled, capture_output=True, text=True, check=False)
        assert process.returncode in (0, -signal.SIGKILL), process.stderr[-3000:]
        return process.returncode

    return start


def states_are_equal(a: Path, b: Path) -> None:
    with np.load(a) as first, np.load(b) as second:
        assert set(first.files) == set(second.files)
        assert {name.split("[")[0] for name in first.files} >= {".step", ".params", ".ema"}
        assert any(name.startswith(".opt") for name in first.files)
        for name in first.files:
            np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def steps_of(workdir: Path) -> list[int]:
    return [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses_of(workdir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", [pytest.param("vae", marks=pytest.mark.slow), "step2"])
def test_killed_four_times_and_resumed(task: str, tmp_path: Path, records: Path, vae_folder: Path):
    """At three random steps, and once in the middle of writing a checkpoint; parameters, EMA, optimiser and the log of losses
    end as in a run that nothing broke."""
    rng = np.random.default_rng(SEED)
    print(f"seed {SEED}")
    config = {
        "vae": lambda: sizes.vae_config(records, STEPS) | {"model": "test-shallow"},
        "step2": lambda: sizes.step2_config(records, vae_folder, STEPS),
    }[task]()
    start = starter(tmp_path, config)
    assert start(tmp_path / "whole", tmp_path / "whole.npz") == 0

    broken, result = tmp_path / "broken", tmp_path / "broken.npz"
    first = int(rng.integers(1, 6))  # before the checkpoint of step 6 is begun
    assert start(broken, result, "loop", first) == -signal.SIGKILL
    assert start(broken, result, "write", 6) == -signal.SIGKILL
    names = [p.name for p in (broken / "checkpoints").iterdir()]
    assert "6" not in names and any(name.startswith("6.") for name in names)  # begun, never finished
    for after, before in ((4, 7), (7, 9)):  # the checkpoint of step 3 is there
        assert start(broken, result, "loop", int(rng.integers(after, before))) == -signal.SIGKILL
    with (broken / "metrics.jsonl").open("a") as log:
        log.write('{"step": 7, "lo')  # as a kill in the middle of a line leaves it
    assert start(broken, result) == 0
    states_are_equal(tmp_path / "whole.npz", result)
    assert steps_of(broken) == steps_of(tmp_path / "whole") == list(range(1, STEPS + 1))
    assert losses_of(broken) == losses_of(tmp_path / "whole")
    assert read_manifest(broken / "model") == read_manifest(tmp_path / "whole" / "model")
