"""The contest's way of timing, on contenders that only sleep."""

from __future__ import annotations

import os

import pytest

from stage_jax.bench.contest import Contender, Timing, compete
from stage_jax.errors import InputError


def sleeper(name: str, *arguments: object) -> Contender:
    return Contender(name, "tests.bench.sleeper", tuple(map(str, arguments)))


def test_rounds_and_ratio():
    """A value per round and contender, without the first round, and none shorter than its sleep."""
    seen: list[tuple[int, int]] = []
    contenders = [sleeper("a", 0.15), sleeper("b", 0.01)]
    (timing,) = compete(contenders, ["sleep"], rounds=2, progress=lambda _, done, total: seen.append((done, total)))
    assert timing.work == "sleep" and {name: len(values) for name, values in timing.seconds.items()} == {"a": 2, "b": 2}
    assert min(timing.seconds["a"]) >= 0.15 and min(timing.seconds["b"]) >= 0.01  # sleep never wakes early
    assert seen == [(0, 2), (1, 2), (2, 2)]


def test_the_ratio_is_paired():
    timing = Timing("w", {"a": (1.0, 10.0, 3.0), "b": (2.0, 20.0, 3.0)})
    assert timing.ratio("a", "b") == 0.5 and timing.ratios("b", "a") == (2.0, 2.0, 1.0)


def test_a_contender_that_dies_is_named():
    with pytest.raises(InputError, match="weak: ended with code 1"):
        compete([sleeper("strong", 0), sleeper("weak", 0, 1)], ["sleep"], rounds=3)


def test_more_processors_than_there_are():
    with pytest.raises(InputError, match="--threads: found"):
        compete([sleeper("a", 0)], ["sleep"], rounds=1, cpus=len(os.sched_getaffinity(0)) + 1)
