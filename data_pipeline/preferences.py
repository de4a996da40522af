"""Pairs to choose between, for DPO: a shot's true pair, and one that is worse, under the same caption and history."""

from __future__ import annotations

import functools
from typing import SupportsIndex

import grain
import numpy as np

from data_pipeline.cache import Latents
from data_pipeline.loader import Examples
from data_pipeline.shots import Batch, ShotSource, pair_example
from stage_jax.errors import InputError


class Preferences:
    """Every preference of a cache of kind `rejected`: (index of its story, index in the story, its row in the cache)."""

    def __init__(self, source: ShotSource, rejected: Latents):
        self.where = [(*source.where[row], i) for i, row in enumerate(rejected.shot_rows)]

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: SupportsIndex) -> tuple[int, int, int]:
        return self.where[index]


def interior_preferences(
    source: ShotSource, interior: Latents, slots: int, dropout: dict[str, float], seed: int, longest: int | None = None
) -> grain.MapDataset:
    """STAGE's own: every shot's pair is chosen, and two frames from inside the same shot are rejected, in order of time.

    chosen and rejected [2, C, h, w]; the rest as `shots.pair_examples`. interior: a cache of that kind. InputError if it has
    less than two frames a shot."""
    if interior.latents.shape[1] < 2:
        raise InputError(f"preferences: found {interior.latents.shape[1]} interior frames a shot, expected 2 or more")
    return Examples(source, seed, functools.partial(_interior, source, interior, slots, dropout, longest))


def given_preferences(
    source: ShotSource, rejected: Latents, slots: int, dropout: dict[str, float], seed: int, longest: int | None = None
) -> grain.MapDataset:
    """Those that the records hold: of a broken cut, or by people (ConStoryBoard-HP). Shapes as `interior_preferences`."""
    pick = functools.partial(_given, source, rejected, slots, dropout, longest)
    return Examples(Preferences(source, rejected), seed, pick)


def _interior(
    source: ShotSource,
    interior: Latents,
    slots: int,
    dropout: dict[str, float],
    longest: int | None,
    where: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    frames = interior.latents[source.cache.first_shot[where[0]] + where[1]]
    drawn = np.sort(rng.choice(len(frames), 2, replace=False))
    return _choice(pair_example(source, slots, dropout, longest, where, rng), frames[drawn])


def _given(
    source: ShotSource,
    rejected: Latents,
    slots: int,
    dropout: dict[str, float],
    longest: int | None,
    where: tuple[int, int, int],
    rng: np.random.Generator,
) -> Batch:
    story, shot, row = where
    return _choice(pair_example(source, slots, dropout, longest, (story, shot), rng), rejected.latents[row])


def _choice(example: Batch, rejected: np.ndarray) -> Batch:
    chosen = example.pop("pair")
    return {"chosen": chosen, "rejected": rejected.astype(np.float32)} | example
