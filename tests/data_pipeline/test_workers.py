"""What workers hand over is what the data set gives, whatever its shapes, and an error tells where it comes from."""

from __future__ import annotations

import array
import fcntl
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import grain
import numpy as np
import pytest

from data_pipeline.workers import Workers
from stage_jax.errors import InputError

ROOT = Path(__file__).parents[2]
STEPS = 8


def batch(step: int) -> dict[str, Any]:
    """Of another size at every step, the largest in the middle."""
    if step == STEPS - 1:
        raise InputError("story.json: found nothing, expected something")
    side = (3, 1, 400, 0, 2, 5, 7)[step]
    pictures = np.arange(side * side * 3, dtype=np.float32).reshape(side, side, 3) + step
    return {"pictures": pictures, "turned": pictures.T, "ids": (np.array(step), np.arange(step, dtype=np.uint8)), "step": step}


def test_batches_of_any_shape_and_an_error_come_from_workers():
    workers = Workers(grain.MapDataset.range(STEPS).map(batch), 2, ahead=1)
    taken = [next(workers) for _ in range(STEPS - 1)]  # all kept, so that a slot that is filled again would be seen
    for step, found in enumerate(taken):
        expected = batch(step)
        assert found.keys() == expected.keys() and found["step"] == step
        for name in ("pictures", "turned"):
            np.testing.assert_array_equal(found[name], expected[name], strict=True)
            found[name][:] = 0  # whoever gets it may write to it
        for a, b in zip(found["ids"], expected["ids"], strict=True):
            np.testing.assert_array_equal(a, b, strict=True)
    with pytest.raises(InputError, match="story.json: found nothing") as error:
        next(workers)
    assert "In data worker 1:" in error.value.__notes__[0] and "in batch\n" in error.value.__notes__[0]
    workers.close()


def test_a_worker_that_is_killed_in_the_middle_of_a_message_is_named():
    """More words than the pipe holds, so that the message cannot be whole."""
    workers = Workers(grain.MapDataset.range(1).map(lambda step: "x" * 10_000_000), 1, ahead=1)
    ((process, pipe),) = ((worker.process, worker.pipe) for worker in workers._workers)
    waiting, until = array.array("i", [0]), time.monotonic() + 60
    while waiting[0] < 1000 and time.monotonic() < until:
        time.sleep(0.01)
        fcntl.ioctl(pipe, termios.FIONREAD, waiting)
    process.kill()
    with pytest.raises(ChildProcessError, match=rf"data worker 0 \(process {process.pid}\) was ended by SIGKILL before"):
        next(workers)
    workers.close()


def test_a_program_that_forgets_its_workers_ends():
    program = (
        "import grain\nfrom data_pipeline.workers import Workers\n"
        "workers = Workers(grain.MapDataset.range(1000), 1, ahead=2)\nprint(next(workers), next(workers))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "0 1\n", "")
