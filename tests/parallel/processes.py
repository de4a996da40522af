"""Training runs in processes of their own, with as many devices as they are given; two of them may make up one run."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile, not to run


def start(worker: str, told: Path, runs: list[dict[str, Any]], devices: int, **environment: object) -> subprocess.Popen[str]:
    """`python -m worker TOLD`, where it reads the runs that it is to do one after the other."""
    told.write_text(json.dumps(runs))
    env = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} {QUICK}",
        "JAX_COMPILATION_CACHE_DIR": str(told.parent / "compiled"),
        **{key: str(value) for key, value in environment.items()},
    }
    return subprocess.Popen([sys.executable, "-m", worker, str(told)], cwd=ROOT, env=env, stderr=subprocess.PIPE, text=True)


def start_two(worker: str, folder: Path, runs: list[dict[str, Any]]) -> list[subprocess.Popen[str]]:
    """The same runs by two processes of two devices each."""
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
    shared = {"JAX_COORDINATOR_ADDRESS": address, "JAX_NUM_PROCESSES": 2}
    return [start(worker, folder / f"two{index}.json", runs, 2, **shared, JAX_PROCESS_ID=index) for index in range(2)]


def finish(*processes: subprocess.Popen[str]) -> None:
    said = [process.communicate()[1] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(text[-3000:] for text in said)
