"""Grain pipelines over story records: each is a pure function of (records, seed, index), endless and shuffled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grain
import numpy as np
from jaxtyping import UInt8

EPOCHS = 10_000  # endless in effect; a mix of datasets wants lengths

Records = Any  # a random-access source of story records: __len__, __getitem__ -> dict


def examples(records: Records, seed: int, pick: Callable[[Any, np.random.Generator], Any]) -> grain.MapDataset:
    """Records in a new order every epoch, each turned into an example by `pick(record, rng)`."""
    return grain.MapDataset.source(records).seed(seed).shuffle().repeat(EPOCHS).random_map(pick)


def clip_windows(records: Records, frames: int, seed: int) -> grain.MapDataset:
    """`frames` successive frames of a random shot's clip, mirrored half of the time: uint8 [frames, H, W, 3]."""

    def pick(record: dict, rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
        clips = record["clips"]
        length = len(clips) // record["shots"]
        first = rng.integers(record["shots"]) * length + rng.integers(length - frames + 1)
        return mirrored(clips[first : first + frames], rng)

    return examples(records, seed, pick)


def stills(records: Records, seed: int) -> grain.MapDataset:
    """A random kept frame of a story, mirrored half of the time, as a clip of one: uint8 [1, H, W, 3]."""

    def pick(record: dict, rng: np.random.Generator) -> UInt8[np.ndarray, "1 h w 3"]:
        first = rng.integers(len(record["frames"]))
        return mirrored(record["frames"][first : first + 1], rng)

    return examples(records, seed, pick)


def mirrored(pictures: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    return np.ascontiguousarray(pictures[:, :, ::-1]) if rng.random() < 0.5 else pictures
