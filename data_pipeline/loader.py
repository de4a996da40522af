"""Grain pipelines over story records: each is a pure function of (records, seed, index), endless and shuffled."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import grain
import numpy as np
from jaxtyping import UInt8

from stage_jax.errors import InputError

EPOCHS = 10_000  # endless in effect; a mix of datasets wants lengths

Records = Any  # a random-access source of story records: __len__, __getitem__ -> dict


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


def examples(records: Records, seed: int, pick: Callable[[Any, np.random.Generator], Any]) -> grain.MapDataset:
    """Records in a new order every epoch, each turned into an example by `pick(record, rng)`. Workers get `pick` by pickle:
    a function of a module, or a partial of one."""
    return grain.MapDataset.source(records).seed(seed).shuffle().repeat(EPOCHS).random_map(pick)


def clip_windows(records: Records, frames: int, seed: int) -> grain.MapDataset:
    """`frames` successive frames of a random shot's clip, mirrored half of the time: uint8 [frames, H, W, 3]."""
    return examples(records, seed, functools.partial(random_window, frames))


def stills(records: Records, seed: int) -> grain.MapDataset:
    """A random kept frame of a story, mirrored half of the time, as a clip of one: uint8 [1, H, W, 3]."""
    return examples(records, seed, _still)


def random_window(frames: int, record: dict, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    clips = record["clips"]
    length = len(clips) // record["shots"]
    first = rng.integers(record["shots"]) * length + rng.integers(length - frames + 1)
    return mirrored(clips[first : first + frames], rng)


def _still(record: dict, rng: np.random.Generator) -> UInt8[np.ndarray, "1 h w 3"]:
    first = rng.integers(len(record["frames"]))
    return mirrored(record["frames"][first : first + 1], rng)


def mirrored(pictures: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    return np.ascontiguousarray(pictures[:, :, ::-1]) if rng.random() < 0.5 else pictures
