"""The batches of a run, made ahead by worker processes or threads and laid onto the devices before they are asked for."""

from __future__ import annotations

import json
import queue
import threading
import weakref
from collections.abc import Callable
from typing import Any

import grain
import jax

from data_pipeline.workers import Workers

POLL = 0.5  # seconds between two looks at whether the stream was closed, while nobody takes a batch
CLOSING = 5.0  # seconds that the thread has to end
ON_DEVICE = 2  # batches that wait on the devices

Place = Callable[[Any], Any]


class Stream:
    """Iterates over a MapDataset of batches from a step on; what it gives depends on nothing but the dataset and the step.

    workers: processes that make batches (`Workers`); 0: `threads` of this process. ahead: batches that each worker, or the
    threads together, make ahead. place: lays a batch onto devices (`onto`), in a thread of its own, `ON_DEVICE` batches ahead.
    The state is the next step alone, so that a run goes on with any number of workers; Grain's Orbax handler writes and reads
    it.
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
        except BaseException:
            self.close()
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

    def close(self) -> None:
        """Ends workers and threads. The next batch starts new ones."""
        run, self._run = self._run, None
        if run is not None:
            run.close()


def onto(sharding: Any) -> Place:
    """Lays this process's rows of a batch onto its devices, as its part of global arrays of a `jax.sharding.Sharding`."""
    return lambda batch: jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch)


class _Run:
    """Workers or threads, and the thread that fetches from them, until they are closed."""

    def __init__(self, dataset: grain.MapDataset, options: grain.ReadOptions, workers: int, place: Place | None):
        ahead = options.prefetch_buffer_size
        self.inner = Workers(dataset, workers, ahead) if workers else iter(dataset.to_iter_dataset(options))
        self.ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ON_DEVICE)
        self.stopped = threading.Event()
        self.thread = threading.Thread(
            target=_fetch, args=(self.inner, place, self.ready, self.stopped), name="stage-data", daemon=True
        )
        self.thread.start()
        weakref.finalize(self, self.stopped.set).atexit = False  # for a stream that is dropped

    def take(self) -> Any:
        batch, error = self.ready.get()
        if error is not None:
            raise error
        return batch

    def close(self) -> None:
        self.stopped.set()
        self.inner.close()
        self.thread.join(timeout=CLOSING)


def _fetch(inner: Any, place: Place | None, ready: queue.Queue, stopped: threading.Event) -> None:
    """The thread: batches, or what ended them, into `ready`, until it is stopped; then it ends what makes them. It holds no
    reference to the stream, which may be dropped."""
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
    inner.close()
