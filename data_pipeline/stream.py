"""The batches of a run, made ahead by worker processes or threads and laid onto the devices before they are asked for."""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import queue
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grain
from absl import flags

POLL = 0.5  # seconds between two looks at the workers, while no batch comes
CLOSING = 30.0  # seconds that the workers have to end; Grain kills those that do not in 25
ON_DEVICE = 2  # batches that wait on the devices, and in each worker's queue
SHARED = 1 << 16  # bytes from which an array comes from a worker in shared memory; less is quicker through a pipe

Place = Callable[[Any], Any]


class Stream:
    """Iterates over a MapDataset of batches from a step on; what it gives depends on nothing but the dataset and the step.

    workers: processes that make batches, each every n-th; 0: `threads` of this process. place: lays a batch onto devices
    (`onto`), in a thread of its own, `ON_DEVICE` batches ahead. The state is the next step alone, so that a run goes on with
    any number of workers; Grain's Orbax handler writes and reads it. A worker that ends raises ChildProcessError, naming it.
    """

    def __init__(
        self, dataset: grain.MapDataset, place: Place | None = None, *, workers: int = 0, threads: int = 1, ahead: int = 8
    ):
        self._dataset, self._place, self._workers = dataset, place, workers
        self._options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        self._next, self._run = 0, None

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        self.start_prefetch()
        try:
            batch = self._run.take()
        except BaseException as error:
            self.close(broken=isinstance(error, ChildProcessError))
            raise
        self._next += 1
        return batch

    def start_prefetch(self) -> None:
        """Begins to make batches, if that has not begun."""
        if self._run is None:
            self._run = _Run(self._dataset[self._next :], self._options, self._workers, self._place)

    def get_state(self) -> bytes:
        """The step whose batch comes next, as JSON."""
        return json.dumps({"next_index": self._next}).encode()

    def set_state(self, state: bytes) -> None:
        """Goes to a step; batches made ahead are dropped."""
        self.close()
        self._next = int(json.loads(state)["next_index"])

    def close(self, broken: bool = False) -> None:
        """Ends workers (which may be `broken`) and threads. The next batch starts new ones."""
        run, self._run = self._run, None
        if run is not None:
            run.close(broken)


def onto(sharding: Any) -> Place:
    """Lays this process's rows of a batch onto its devices, as its part of global arrays of a `jax.sharding.Sharding`."""
    import jax  # here, so that a worker does not load it

    return lambda batch: jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch)


class _Run:
    """Workers and the thread that fetches from them, until they are closed."""

    def __init__(self, dataset: grain.MapDataset, options: grain.ReadOptions, workers: int, place: Place | None):
        self.signed = tempfile.TemporaryDirectory(prefix="stage_data.")
        self.workers, self.processes = workers, {}  # those that have signed in, by their process's number
        source = dataset.to_iter_dataset(options)
        if workers:
            if not flags.FLAGS.is_parsed():
                flags.FLAGS.mark_as_parsed()  # Grain's workers read absl's flags, which our command line does not have
            each = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=ON_DEVICE)
            source = grain.experimental.WithOptionsIterDataset(
                source, grain.experimental.DatasetOptions(min_shm_size=SHARED)
            ).mp_prefetch(each, worker_init_fn=functools.partial(_enter_worker, self.signed.name))
        self.inner = iter(source)
        self.ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ON_DEVICE)
        self.stopped = threading.Event()
        self.thread = threading.Thread(
            target=_fetch, args=(self.inner, place, self.ready, self.stopped), name="stage-data", daemon=True
        )
        self.thread.start()

    def take(self) -> Any:
        while True:
            try:
                batch, error = self.ready.get(timeout=POLL)
            except queue.Empty:
                self._check_workers()
                continue
            if error is not None:
                if not isinstance(error, StopIteration):
                    self._check_workers(error)
                raise error
            if len(self.processes) < self.workers:
                self._check_workers()
            return batch

    def _check_workers(self, cause: BaseException | None = None) -> None:
        """ChildProcessError if a worker that signed in has ended. Grain itself waits for one that ended with code 0; with a
        `cause` from elsewhere it has ended its workers, all with code 0."""
        alive = {process.pid: process for process in multiprocessing.active_children()}
        for name in sorted(os.listdir(self.signed.name)):
            worker, pid = map(int, name.split("."))
            if pid in alive:
                self.processes[pid] = alive[pid]
                continue
            code = self.processes[pid].exitcode if pid in self.processes else None
            if code or cause is None:
                who = f"data worker {worker} (process {pid})"
                raise ChildProcessError(f"{who} {_how(code)} before its work was done") from cause

    def close(self, broken: bool = False) -> None:
        """broken: a worker has ended, so that Grain may wait for it: the others are ended here."""
        self.stopped.set()
        closing = threading.Thread(target=self.inner.close, daemon=True)
        if broken:
            for process in self.processes.values():
                process.kill()
        closing.start()
        closing.join(timeout=CLOSING if not broken else POLL)
        self.thread.join(timeout=POLL)
        self.signed.cleanup()


def _fetch(inner: Any, place: Place | None, ready: queue.Queue, stopped: threading.Event) -> None:
    """The thread: batches, or what ended them, into `ready`. It holds no reference to the stream, which may be dropped."""
    while not stopped.is_set():
        try:
            batch = next(inner)
            item = (place(batch) if place else batch, None)
        except BaseException as error:  # whatever it is, it is raised where the batch is asked for
            item = (None, error)
        while not stopped.is_set():
            try:
                ready.put(item, timeout=POLL)
                break
            except queue.Full:
                continue
        if item[1] is not None:
            return


def _enter_worker(folder: str, worker: int, workers: int) -> None:
    """In a worker: signs in, and sees to it that it ends with its parent, however that ends."""
    (Path(folder) / f"{worker}.{os.getpid()}").touch()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _how(code: int | None) -> str:
    """code: None if the process ended before it was looked at."""
    if code is None:
        return "ended"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)

