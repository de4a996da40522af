"""The same run on one device, on meshes of eight, and by two processes: the same losses, the same parameters."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
STEPS = 20
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile, not to run
MESHES = {"data": {"data": 8}, "fsdp": {"fsdp": 8}, "mixed": {"data": 2, "fsdp": -1, "tensor": 2}}
SHARES = {"one": 1, "data": 1, "fsdp": 1 / 8, "mixed": 1 / 4, "moved": 1 / 4, "two": 1 / 2}  # of a kernel, on each device


def start(folder: Path, name: str, runs: list[dict[str, Any]], devices: int, **environment: object) -> subprocess.Popen[str]:
    told = folder / f"{name}.json"
    told.write_text(json.dumps(runs))
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        **{key: str(value) for key, value in environment.items()},
    }
    command = [sys.executable, "-m", "tests.parallel.train_worker", str(told)]
    return subprocess.Popen(command, cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def finish(*processes: subprocess.Popen[str]) -> None:
    said = [process.communicate()[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(text[-3000:] for text in said)


def told(folder: Path, name: str, optimizer: str, mesh: dict[str, int], steps: int = STEPS) -> dict[str, Any]:
    return {"workdir": str(folder / name), "optimizer": optimizer, "mesh": mesh, "steps": steps}


def losses(folder: Path, name: str) -> np.ndarray:
    return np.array([json.loads(line)["loss"] for line in (folder / name / "metrics.jsonl").read_text().splitlines()])


def same(folder: Path, name: str, tolerance: float, *, parameters: bool) -> None:
    expected = losses(folder, "one")
    assert len(expected) == STEPS and expected[-1] < 0.8 * expected[0]
    np.testing.assert_allclose(losses(folder, name), expected, rtol=tolerance)
    with np.load(folder / "one.npz") as one, np.load(folder / f"{name}.npz") as other:
        assert float(other["share"]) == SHARES[name] and set(one.files) == set(other.files)
        for path in set(one.files) - {"share"} if parameters else ():
            assert np.abs(one[path] - other[path]).max() <= tolerance * np.abs(one[path]).max(), path


@pytest.mark.slow
def test_sgd_is_the_same_everywhere(tmp_path: Path):
    """With momentum; two processes of two devices each; and a checkpoint of one mesh goes on on another."""
    port = socket.create_server(("localhost", 0))
    address = f"localhost:{port.getsockname()[1]}"
    port.close()
    one = start(tmp_path, "one", [told(tmp_path, "one", "sgd", {})], 1)
    meshes = [told(tmp_path, name, "sgd", mesh) for name, mesh in MESHES.items()]
    eight = start(tmp_path, "eight", meshes, 8)
    two = [
        start(
            tmp_path, f"two{index}", [told(tmp_path, "two", "sgd", {"data": 2, "fsdp": 2})], 2,
            JAX_COORDINATOR_ADDRESS=address, JAX_NUM_PROCESSES=2, JAX_PROCESS_ID=index,
        )
        for index in range(2)
    ]  # fmt: skip
    finish(one, eight, *two)
    for name in (*MESHES, "two"):
        same(tmp_path, name, 1e-5, parameters=True)
    # The run on `data`, as it stood after ten steps, goes on on the mixed mesh.
    workdir = shutil.copytree(tmp_path / "data", tmp_path / "moved")
    shutil.rmtree(workdir / "checkpoints" / str(STEPS))
    finish(start(tmp_path, "moved", [told(tmp_path, "moved", "sgd", MESHES["mixed"])], 8))
    same(tmp_path, "moved", 1e-5, parameters=True)


@pytest.mark.slow
def test_adamw_has_the_same_losses_everywhere(tmp_path: Path):
    one = start(tmp_path, "one", [told(tmp_path, "one", "adamw", {})], 1)
    eight = start(tmp_path, "eight", [told(tmp_path, name, "adamw", mesh) for name, mesh in MESHES.items()], 8)
    finish(one, eight)
    for name in MESHES:
        same(tmp_path, name, 1e-4, parameters=False)
