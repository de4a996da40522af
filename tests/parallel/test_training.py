"""The same run on one device, on meshes of eight, and by two processes: the same losses, the same parameters."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parallel import processes
from tests.parallel.processes import finish

WORKER = "tests.parallel.train_worker"
STEPS = 20
MESHES = {"data": {"data": 8}, "fsdp": {"fsdp": 8}, "mixed": {"data": 2, "fsdp": -1, "tensor": 2}}
PARTS = {"parts": 4, "mixed parts": 2}  # a batch in so many, on one device and on the mixed mesh
# Of a kernel, on each device.
SHARES = {
    "one": 1, "data": 1, "fsdp": 1 / 8, "mixed": 1 / 4, "moved": 1 / 4, "two": 1 / 2, "parts": 1, "mixed parts": 1 / 4,
}  # fmt: skip


def start(folder: Path, name: str, runs: list[dict[str, Any]], devices: int) -> subprocess.Popen[str]:
    return processes.start(WORKER, folder / f"{name}.json", runs, devices)


def start_two(folder: Path, optimizer: str, stop: int | None = None) -> list[subprocess.Popen[str]]:
    """A run of two processes of two devices each."""
    return processes.start_two(WORKER, folder, [told(folder, "two", optimizer, {"data": 2, "fsdp": 2}, stop)])


def told(folder: Path, name: str, optimizer: str, mesh: dict[str, int], stop: int | None = None) -> dict[str, Any]:
    run = {"workdir": str(folder / name), "optimizer": optimizer, "mesh": mesh, "steps": STEPS, "stop": stop}
    return run | {"accumulate": PARTS.get(name, 1)}


def losses(folder: Path, name: str) -> np.ndarray:
    return np.array([json.loads(line)["loss"] for line in (folder / name / "metrics.jsonl").read_text().splitlines()])


def same(folder: Path, name: str, tolerance: float, *, parameters: bool, began: int = 0) -> None:
    """The run of this name, whose last start began at this step, is the run on one device."""
    expected = losses(folder, "one")
    assert len(expected) == STEPS and expected[-1] <= 0.8 * expected[0]
    np.testing.assert_allclose(losses(folder, name), expected, rtol=tolerance)
    with np.load(folder / "one.npz") as one, np.load(folder / f"{name}.npz") as other:
        assert (int(other["began"]), int(other["ended"]), float(other["share"])) == (began, STEPS, SHARES[name])
        arrays = {path for path in one.files if path.startswith(("params ", "ema "))}
        assert set(one.files) == set(other.files) and {path.split()[0] for path in arrays} == {"params", "ema"}
        for path in arrays if parameters else ():
            assert np.abs(one[path] - other[path]).max() <= tolerance * np.abs(one[path]).max(), path


@pytest.mark.slow
def test_sgd_is_the_same_everywhere(tmp_path: Path):
    """With momentum: losses, parameters and their average; also where a batch comes in parts; and a checkpoint of one mesh goes
    on on another."""
    one = start(tmp_path, "one", [told(tmp_path, name, "sgd", {}) for name in ("one", "parts")], 1)
    meshes = [told(tmp_path, name, "sgd", mesh) for name, mesh in (MESHES | {"mixed parts": MESHES["mixed"]}).items()]
    finish(one, start(tmp_path, "eight", meshes, 8), *start_two(tmp_path, "sgd"))
    for name in (*MESHES, "two", *PARTS):
        same(tmp_path, name, 1e-5, parameters=True)
    # The run on `data`, as it stood after ten steps, goes on on the mixed mesh.
    workdir = shutil.copytree(tmp_path / "data", tmp_path / "moved")
    shutil.rmtree(workdir / "checkpoints" / str(STEPS))
    finish(start(tmp_path, "moved", [told(tmp_path, "moved", "sgd", MESHES["mixed"])], 8))
    same(tmp_path, "moved", 1e-5, parameters=True, began=STEPS // 2)


@pytest.mark.slow
def test_adamw_has_the_same_losses_everywhere(tmp_path: Path):
    """The two processes are stopped on the way by a SIGTERM that one of them gets: both save after the same step, end with 0,
    and go on from there."""
    one = start(tmp_path, "one", [told(tmp_path, "one", "adamw", {})], 1)
    eight = start(tmp_path, "eight", [told(tmp_path, name, "adamw", mesh) for name, mesh in MESHES.items()], 8)
    finish(one, eight, *start_two(tmp_path, "adamw", stop=1))
    for name in MESHES:
        same(tmp_path, name, 1e-4, parameters=False)
    with np.load(tmp_path / "two.npz") as two:
        stopped = int(two["ended"])
    assert 3 <= stopped < STEPS and not (tmp_path / "two" / "model").exists()
    assert (tmp_path / "two" / "checkpoints" / str(stopped)).is_dir()
    finish(*start_two(tmp_path, "adamw"))
    same(tmp_path, "two", 1e-4, parameters=False, began=stopped)
