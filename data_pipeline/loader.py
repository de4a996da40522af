"""Grain pipelines over story records: each is a pure function of (records, seed, index), endless and shuffled."""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any, SupportsIndex

import grain
import numpy as np
from jaxtyping import Int64, UInt8

from stage_jax.errors import InputError

EPOCHS = 10**9  # endless in effect, of a single record too; a mix of datasets wants lengths

ORDERS, PICKS = 0, 1  # tell the random streams of a seed apart

Records = Any  # a random-access source of story records: __len__, __getitem__ -> dict
Pick = Callable[[Any, np.random.Generator], Any]


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of every batch that one of `count` processes makes: rows that follow one another, in the order of processes,
    as `jax.make_array_from_process_local_data` wants them."""

    process: int = 0
    count: int = 1


WHOLE = Share()


@dataclasses.dataclass(frozen=True)
class Bucket:
    """Examples of one shape. size: how many there are in an epoch. batch: rows of one batch, of all processes."""

    examples: grain.MapDataset
    size: int
    batch: int


def batches(dataset: grain.MapDataset, batch: int, share: Share = WHOLE) -> grain.MapDataset:
    """Successive `batch` examples, of which this process makes its share; the shares of all processes, one after another,
    are the same for any number of them. InputError if the rows cannot be shared out evenly."""
    rows, rest = divmod(batch, share.count)
    if rest:
        raise InputError(f"a batch of {batch}: found {share.count} processes, expected a number that divides it")

    places = functools.partial(_example_of_share, dataset, batch, rows, share.process)
    return grain.MapDataset.range(len(dataset) // batch * rows).map(places).batch(rows)


def _example_of_share(dataset: grain.MapDataset, batch: int, rows: int, process: int, index: int) -> Any:
    step, row = divmod(index, rows)
    return dataset[step * batch + process * rows + row]


def bucketed(buckets: Sequence[Bucket], share: Share = WHOLE) -> grain.MapDataset:
    """Batches of one bucket each, in turns such that each bucket's examples come up as often as those of the others."""
    parts = [batches(bucket.examples, bucket.batch, share) for bucket in buckets]
    return grain.MapDataset.mix(parts, weights=[bucket.size / bucket.batch for bucket in buckets])


class Examples(grain.MapDataset):
    """Records, `EPOCHS` times and every time in another order, each turned into an example by `pick(record, rng)`,
    which workers get by pickle: a function of a module, or a partial of one.

    Grain's own shuffle of three records takes 15 ms an item, and of a thousand .1 ms."""

    def __init__(self, records: Records, seed: int, pick: Pick):
        super().__init__()
        self._records, self._seed, self._pick = records, seed, pick

    def __len__(self) -> int:
        return len(self._records) * EPOCHS

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        if isinstance(index, slice):
            return self.slice(index)
        at = operator.index(index) % len(self)
        epoch, place = divmod(at, len(self._records))
        record = self._records[int(_order(len(self._records), self._seed, epoch)[place])]
        return self._pick(record, np.random.default_rng([self._seed, PICKS, at]))


@functools.lru_cache(maxsize=16)  # the epochs that are read now, of all the data sets of a mix
def _order(count: int, seed: int, epoch: int) -> Int64[np.ndarray, " count"]:
    return np.random.default_rng([seed, ORDERS, epoch]).permutation(count)


def clip_windows(records: Records, frames: int, seed: int) -> grain.MapDataset:
    """`frames` successive frames of a random shot's clip, mirrored half of the time: uint8 [frames, H, W, 3]."""
    return Examples(records, seed, functools.partial(random_window, frames))


def stills(records: Records, seed: int) -> grain.MapDataset:
    """A random kept frame of a story, mirrored half of the time, as a clip of one: uint8 [1, H, W, 3]."""
    return Examples(records, seed, _still)


def random_window(frames: int, record: dict, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    """A copy, so that the story's clips can go at once: those of a whole batch would not stay in the processor's caches."""
    clips = record["clips"]
    length = len(clips) // record["shots"]
    first = rng.integers(record["shots"]) * length + rng.integers(length - frames + 1)
    return mirrored(clips[first : first + frames], rng)


def _still(record: dict, rng: np.random.Generator) -> UInt8[np.ndarray, "1 h w 3"]:
    first = rng.integers(len(record["frames"]))
    return mirrored(record["frames"][first : first + 1], rng)


def mirrored(pictures: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    """A copy, mirrored half of the time."""
    return (pictures[:, :, ::-1] if rng.random() < 0.5 else pictures).copy()
