"""Processes that make the batches of a data set, each every n-th of them, and hand them over in memory that both sides see."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import mmap
import multiprocessing
import os
import pickle
import signal
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing import reduction, util
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import cloudpickle
import grain
import numpy as np
from jaxtyping import UInt8

PRELOAD = ("data_pipeline.workers", "data_pipeline.records", "data_pipeline.shots")  # imported once for all workers
ENDING = 5.0  # seconds to learn how a worker ended


class Workers:
    """Iterates over a data set of batches (pytrees of arrays), in order.

    count: processes. ahead: batches that each makes ahead. A worker that ends before its work is done raises
    ChildProcessError, which names it; an error in a worker is raised here, with the worker's traceback as a note. Workers end
    when they are closed or forgotten, and when this process has ended, however that happens.
    """

    def __init__(self, dataset: grain.MapDataset, count: int, ahead: int):
        context = multiprocessing.get_context("forkserver")  # JAX's threads do not survive a fork of this process
        context.set_forkserver_preload(list(PRELOAD))
        pickled = cloudpickle.dumps(dataset)  # pickle alone knows no lambdas, of which Grain has some
        self._next, self._end, self._workers = 0, len(dataset), []
        self.close = util.Finalize(self, _end_all, args=(self._workers,), exitpriority=1)
        for number in range(count):
            slots = [_Slot.new() for _ in range(ahead)]
            pipe, its_pipe = context.Pipe()
            files = [reduction.DupFd(slot.file) for slot in slots]
            process = context.Process(target=_work, args=(pickled, number, count, its_pipe, files), daemon=True)
            try:
                process.start()
            except (EOFError, ConnectionError):
                raise ChildProcessError(f"data worker {number} ended before it began") from None
            its_pipe.close()
            self._workers.append(_Worker(process, pipe, slots))

    def __iter__(self) -> Workers:
        return self

    def __next__(self) -> Any:
        if self._next == self._end:
            raise StopIteration
        number = self._next % len(self._workers)
        worker = self._workers[number]
        try:
            slot, body, sizes = worker.pipe.recv()
        except (EOFError, OSError):  # an OSError if it ended in the middle of a message
            raise _ended(number, worker) from None
        if slot is None:
            raise pickle.loads(body)
        batch = pickle.loads(body, buffers=worker.slots[slot].read(sizes))
        try:
            worker.pipe.send(slot)
        except ConnectionError:
            raise _ended(number, worker) from None
        self._next += 1
        return batch


@dataclasses.dataclass(frozen=True)
class _Worker:
    """pipe: from it (slot, pickled batch, bytes of each array) or (None, pickled error, ()); to it the slots that are read."""

    process: BaseProcess
    pipe: Connection
    slots: Sequence[_Slot]


def _end_all(workers: Sequence[_Worker]) -> None:
    for worker in workers:
        worker.process.kill()  # it leaves nothing behind: its memory has no name
    for worker in workers:
        worker.process.join()


def _ended(number: int, worker: _Worker) -> ChildProcessError:
    worker.process.join(ENDING)
    who = f"data worker {number} (process {worker.process.pid})"
    return ChildProcessError(f"{who} {_how(worker.process.exitcode)} before its work was done")


def _how(code: int | None) -> str:
    """code: None if the process has closed its pipe, but not ended."""
    if code is None:
        return "ended"
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _work(pickled: bytes, number: int, count: int, pipe: Connection, files: Sequence[Any]) -> None:
    """A worker: its batches, one after another, each into a slot that is free. A pipe without its other end ends it.

    files: of the slots, as `reduction.DupFd` sends them."""
    for told in (signal.SIGINT, signal.SIGTERM):  # all processes of a run get them, and the run may want a few batches more
        signal.signal(told, signal.SIG_IGN)
    _keep_memory()
    slots = [_Slot(file.detach()) for file in files]
    free = list(range(len(slots)))
    with contextlib.suppress(EOFError, ConnectionError):
        for body, arrays in _pickled_batches(pickled, number, count):
            if arrays is None:
                pipe.send((None, body, ()))
                break
            slot = free.pop() if free else pipe.recv()
            pipe.send((slot, body, slots[slot].write(arrays)))
        while True:
            pipe.recv()


def _keep_memory() -> None:
    """Has the C library, where it is glibc, keep the memory of arrays that are gone for those that come; else it gives large
    ones back to the system, and gets them anew page by page."""
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        library.mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD
        library.mallopt(-3, 1 << 25)  # M_MMAP_THRESHOLD, the most that it takes


def _pickled_batches(pickled: bytes, number: int, count: int) -> Iterator[tuple[bytes, list[memoryview] | None]]:
    """Every count-th batch and the memory of its arrays; the error that ends them, if one does, with None."""
    try:
        dataset = pickle.loads(pickled)
        for step in range(number, len(dataset), count):
            buffers: list[pickle.PickleBuffer] = []
            body = pickle.dumps(dataset[step], protocol=5, buffer_callback=buffers.append)
            yield body, [buffer.raw() for buffer in buffers]
    except Exception as error:  # whatever it is, it is raised where the batch is asked for
        error.add_note(f"In data worker {number}:\n{traceback.format_exc()}")
        yield cloudpickle.dumps(error), None


class _Slot:
    """Memory for one batch, which grows with it: a file without a name, gone with the last process that has it open."""

    def __init__(self, file: int):
        self.file, self._map = file, None

    @classmethod
    def new(cls) -> _Slot:
        if hasattr(os, "memfd_create"):  # not in /dev/shm, which containers keep small
            return cls(os.memfd_create("stage_data"))
        with tempfile.TemporaryFile() as file:
            return cls(os.dup(file.fileno()))

    def __del__(self) -> None:
        os.close(self.file)

    def write(self, arrays: Sequence[memoryview]) -> list[int]:
        """Their sizes in bytes. OSError if the memory is full."""
        sizes = [array.nbytes for array in arrays]
        if self._map is None or len(self._map) < sum(sizes):
            _allocate(self.file, max(1, sum(sizes)))
        self._open(sum(sizes))
        end = 0
        for array, size in zip(arrays, sizes, strict=True):
            start, end = end, end + size
            self._map[start:end] = array
        return sizes

    def read(self, sizes: Sequence[int]) -> list[UInt8[np.ndarray, " bytes"]]:
        """Copies, since the slot is filled again."""
        self._open(sum(sizes))
        ends = np.cumsum(sizes, dtype=int)
        return [np.frombuffer(self._map, np.uint8, size, end - size).copy() for size, end in zip(sizes, ends, strict=True)]

    def _open(self, size: int) -> None:
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.file, max(1, size))


def _allocate(file: int, size: int) -> None:
    """What is not allocated now would end a process that writes to it once the memory is full."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)
