"""Streams of batches: the same with workers, threads and after a restore, and never waiting for a worker that has ended."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import grain
import jax
import numpy as np
import pytest

from data_pipeline.loader import Examples, batches
from data_pipeline.stream import Stream, onto
from stage_jax.errors import InputError

ROOT = Path(__file__).parents[2]
EPOCH, BATCH = 21, 4


def dataset(stop_at: int | None = None, how: int | None = None) -> grain.MapDataset:
    """Batches of (which example, a random number); making example `stop_at` ends its worker, with code `how` or an error."""

    def pick(item: int, rng: np.random.Generator) -> np.ndarray:
        if item == stop_at and how is None:
            raise InputError("story.json: found nothing, expected something")
        if item == stop_at:
            os._exit(how)
        return np.array([item, rng.integers(1 << 30)])

    return batches(Examples(range(EPOCH), 0, pick), BATCH)


def expected(steps: range) -> list[list[list[int]]]:
    return [dataset()[step].tolist() for step in steps]


def taken(stream: Stream, count: int) -> list[list[list[int]]]:
    return [np.asarray(next(stream)).tolist() for _ in range(count)]


def test_it_goes_on_where_its_state_stood():
    first = Stream(dataset(), threads=2)
    assert taken(first, 7) == expected(range(7))  # across an epoch
    state = first.get_state()
    assert json.loads(state) == {"next_index": 7} and taken(first, 2) == expected(range(7, 9))
    second = Stream(dataset())
    second.set_state(state)
    assert second.get_state() == state and taken(second, 3) == expected(range(7, 10))
    second.set_state(b'{"next_index": 2}')
    assert taken(second, 2) == expected(range(2, 4))
    first.close()
    second.close()


def test_what_lies_ahead_is_on_the_devices():
    """Placing runs ahead of the one who asks, in a thread of its own."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    sharding = jax.sharding.NamedSharding(mesh, jax.P("data"))
    placed: list[int] = []

    def place(batch: np.ndarray) -> jax.Array:
        placed.append(len(placed))
        return onto(sharding)(batch)

    stream = Stream(dataset(), place)
    batch = next(stream)
    assert isinstance(batch, jax.Array) and batch.sharding == sharding and batch.tolist() == expected(range(1))[0]
    until = time.monotonic() + 10
    while len(placed) < 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert len(placed) >= 3
    stream.close()


def test_what_goes_wrong_while_a_batch_is_made_is_raised_where_it_is_asked_for():
    with pytest.raises(InputError, match="story.json: found nothing"):
        taken(Stream(dataset(stop_at=20)), 8)


def test_workers_make_the_same_and_one_that_is_killed_is_named():
    """Three runs in one, because starting workers takes seconds: order, restore, and the end of a worker by a signal."""
    stream = Stream(dataset(), workers=2)
    assert taken(stream, 5) == expected(range(5))
    other = Stream(dataset(), workers=1)  # as many as one likes
    other.set_state(stream.get_state())
    assert taken(other, 2) == expected(range(5, 7))
    other.close()
    before = {process.pid for process in multiprocessing.active_children()}
    assert len(before) == 2
    pid = max(before)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ChildProcessError, match=rf"data worker \d \(process {pid}\) was ended by SIGKILL before"):
        taken(stream, 100)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stream_that_is_dropped_leaves_no_thread_and_no_worker(workers: int):
    def running() -> set[object]:
        threads = [thread for thread in threading.enumerate() if thread.name == "stage-data"]
        return {*threads, *multiprocessing.active_children()}

    before = running()
    stream = Stream(dataset(), workers=workers)
    next(stream)
    assert running() - before
    del stream
    until = time.monotonic() + 20
    while running() - before and time.monotonic() < until:
        time.sleep(0.1)
    assert not running() - before


@pytest.mark.parametrize("how", [0, None])
def test_a_worker_that_ends_by_itself(how: int | None):
    """With code 0 Grain would wait for it for ever; with an error of ours, that error comes through."""
    stream = Stream(dataset(stop_at=20, how=how), workers=1)
    error, words = (ChildProcessError, r"data worker 0 \(process \d+\) ended with code 0") if how == 0 else (
        InputError, "story.json: found nothing, expected something"
    )  # fmt: skip
    with pytest.raises(error, match=words):
        taken(stream, 8)


def test_killed_in_the_middle_of_an_epoch_with_workers_running(tmp_path: Path):
    """The batches of a run that was killed and started again are those of one that was not, and its workers end with it."""
    log = tmp_path / "log"
    command = [sys.executable, "-m", "tests.data_pipeline.stream_worker", str(log)]
    died = subprocess.run([*command, "8"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr[-2000:]
    killed = [json.loads(line) for line in log.read_text().splitlines()]
    workers = killed[0]["workers"]
    assert len(workers) == 2 and [line["batch"] for line in killed] == expected(range(8))
    done = subprocess.run([*command, "0"], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = [json.loads(line) for line in log.read_text().splitlines()][8:]
    assert [line["step"] for line in lines] == list(range(6, 12))  # from the last state that was kept, of step 6
    assert [line["batch"] for line in lines] == expected(range(6, 12))
    until = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers) and time.monotonic() < until:
        time.sleep(0.1)
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
