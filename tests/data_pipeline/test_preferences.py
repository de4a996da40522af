"""Preference pairs: the right pair is chosen, and what is rejected is of the same shot."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.cache import Latents
from data_pipeline.preferences import given_preferences, interior_preferences
from data_pipeline.shots import ShotSource
from stage_jax.errors import InputError
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.story.types import Scene, Shot, Story

WORDS = ("one", "two", "three", "four", "five")
KEEP = {"caption": 0.0, "history": 0.0, "pair": 0.0}
STORIES = tuple(
    Story("t", scenes=(Scene("SC01", shots=tuple(Shot(f"SH{i}", word) for i, word in enumerate(WORDS[:count]))),))
    for count in (2, 3)
)


def cache(latents: np.ndarray, rows: tuple[int, ...] = ()) -> Latents:
    return Latents(STORIES, (0, 2), np.float16(latents)[:, :, None, None, None], rows)


@pytest.fixture
def source() -> ShotSource:
    """The pair of shot k of all five is 10 k, 10 k + 1."""
    return ShotSource(cache(10 * np.arange(5)[:, None] + np.arange(2)), WordTokenizer(WORDS, 3))


def test_two_interior_frames_in_order_are_rejected(source: ShotSource):
    """Interior frames of shot k are 10 k + 2 to 10 k + 4; every two of them come up, the earlier one first."""
    dataset = interior_preferences(source, cache(10 * np.arange(5)[:, None] + np.arange(2, 5)), 3, KEEP, seed=0)
    drawn = set()
    for i in range(100):
        example = dataset[i]
        chosen, rejected = (example[name][:, 0, 0, 0] for name in ("chosen", "rejected"))
        row = int(chosen[0]) // 10
        assert chosen.tolist() == [10 * row, 10 * row + 1] and rejected[0] < rejected[1]
        assert example["ids"][0] == 2 + (row if row < 2 else row - 2)
        seen = example["memory_latents"][example["memory_valid"]][:, 0, 0, 0]
        assert len(seen) == min(3, 2 * (row if row < 2 else row - 2)) and (seen < 10 * row).all()
        assert rejected.dtype == chosen.dtype == np.float32
        drawn.add((row, *(int(x) - 10 * row for x in rejected)))
    assert drawn == {(row, *two) for row in range(5) for two in ((2, 3), (2, 4), (3, 4))}


def test_one_interior_frame_is_too_few(source: ShotSource):
    with pytest.raises(InputError, match="found 1 interior frames a shot, expected 2 or more"):
        interior_preferences(source, cache(np.zeros((5, 1))), 3, KEEP, seed=0)


def test_given_preferences_come_with_their_shot(source: ShotSource):
    """Preference i rejects 100 + 2 i, 101 + 2 i; they are of shots 4, 1 and 4."""
    rejected = cache(100 + np.arange(6).reshape(3, 2), (4, 1, 4))
    dataset = given_preferences(source, rejected, 3, KEEP, seed=0, longest=5)
    seen = set()
    for i in range(20):
        example = dataset[i]
        seen.add((*(int(x) for x in example["chosen"].ravel()), *(int(x) for x in example["rejected"].ravel())))
    assert seen == {(40, 41, 100, 101), (10, 11, 102, 103), (40, 41, 104, 105)}
