"""`stage train` on a disk of its own, a small one in memory, that is full from the fifth step on; then again with room.

    unshare --map-root-user --mount python -m tests.training.full_disk_worker DISK CONFIG.py LEFT

DISK: an empty folder, which stays so. LEFT: bytes that are left on the full disk. The task is that of three numbers. The last
line says, as JSON, what came of both runs; exits with `NO_DISK` where this process may not mount.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from stage_jax.cli.main import main as stage
from stage_jax.training import train as loop
from tests.training.toy import ToyTask

NO_DISK = 77
FULL_FROM = 5  # step


class FillingTask(ToyTask):
    """Its disk is filled once the first checkpoint is whole."""

    disk: Path
    left: int
    begun = 0

    def work(self, batch: Any) -> Any:
        FillingTask.begun += 1
        if FillingTask.begun == FULL_FROM:
            while not (self.disk / "run" / "checkpoints" / "3").is_dir():
                time.sleep(0.01)
            fill(self.disk / "filler", self.left)
        return super().work(batch)


def fill(path: Path, left: int) -> None:
    with path.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(bytes(1 << 12))
        file.truncate(file.tell() - left)


def main(disk: Path, config: str, left: int) -> int:
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk], capture_output=True, check=False).returncode:
        return NO_DISK
    loop.make_task, FillingTask.disk, FillingTask.left = FillingTask, disk, left
    found = []
    for _ in range(2):
        code = stage(["train", "--config", config, "--workdir", str(disk / "run")])
        whole = sorted(int(path.name) for path in (disk / "run" / "checkpoints").iterdir() if path.name.isdecimal())
        found.append({"code": code, "checkpoints": whole, "model": (disk / "run" / "model").exists()})
        (disk / "filler").unlink(missing_ok=True)
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
