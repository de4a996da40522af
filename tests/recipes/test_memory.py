"""The memory pack: its budget, what is kept, what comes first, and that only the past is seen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from stage_jax.recipes.memory import BankFrame, bank_frames, fill_slots, hints, pack, slot_sizes
from stage_jax.story.types import Scene, Shot

PEOPLE, PLACES = ("mia", "tom", "ada", "bo"), ("beach", "wood", "")


def bank(*shots: tuple[str, str]) -> list[BankFrame]:
    """Frames of shots given as ("mia tom", "beach")."""
    return bank_frames(
        [(Scene("SC01", location=place), Shot("SH010", "x", characters=tuple(who.split()))) for who, place in shots]
    )


def random_bank(rng: np.random.Generator, shots: int) -> list[BankFrame]:
    return bank(*((" ".join(p for p in PEOPLE if rng.random() < 0.4), rng.choice(PLACES)) for _ in range(shots)))


@pytest.mark.smoke
def test_sizes_of_the_tiny_model():
    assert slot_sizes(8, 8) == ((6, 6), (4, 4), (2, 2), (2, 2))
    assert slot_sizes(2, 2) == ()


@pytest.mark.parametrize("height", [2, 4, 8, 10, 32, 60, 90])
@pytest.mark.parametrize("width", [2, 4, 6, 8, 16, 64, 104, 160])
def test_ranked_frames_never_reach_a_frame(height: int, width: int):
    """The sum stays below one frame; sides are even, at least 2, near the paper's, and shrink."""
    sizes = slot_sizes(height, width)
    assert sum(map(math.prod, sizes)) < height * width
    assert all(side >= 2 and side % 2 == 0 for size in sizes for side in size)
    assert list(sizes) == sorted(sizes, reverse=True)
    if min(height, width) >= 32:  # far from the rounding, the first areas are the paper's
        np.testing.assert_allclose([math.prod(s) / (height * width) for s in sizes[:2]], [0.5, 0.25], rtol=0.08)


def test_nothing_is_remembered_at_the_start():
    assert pack([], ("mia",), "beach", 4) == ()


def test_previous_end_frame_then_anchors_then_the_rest():
    """Anchors stand in the order of naming, before frames that share more."""
    history = bank(("tom", "wood"), ("mia", "wood"), ("mia tom", "beach"), ("mia tom", "beach"), ("", "wood"))
    chosen = pack(history, ("mia", "tom"), "beach", 4)
    assert [slot.frame for slot in chosen] == [9, 2, 0, 6, 7]  # ends: 1, 3, ...; the newest of the fitting ones next
    assert [slot.why for slot in chosen] == [
        "previous end frame", "first shows mia", "first shows tom", "shows mia, tom, same place",
        "shows mia, tom, same place",
    ]  # fmt: skip
    assert chosen[1].hints == (1.0, 0.0, 0.0, 0.0) and chosen[3].hints == (1.0, 1.0, 0.0, 1.0)
    assert [slot.frame for slot in pack(history, ("tom", "mia"), "beach", 4)[1:3]] == [0, 2]


def test_an_anchor_says_whom_it_introduces_and_whom_it_only_shows():
    history = bank(("tom", "wood"), ("mia tom", "wood"), ("", "wood"))
    chosen = pack(history, ("mia", "tom"), "beach", 2)
    assert [slot.why for slot in chosen[1:]] == ["first shows mia, shows tom", "first shows tom"]


def test_strangers_count_against_a_frame():
    history = bank(("mia", "wood"), ("mia bo", "beach"), ("mia", "beach"), ("", "wood"))
    order = [slot.frame for slot in pack(history, ("mia",), "beach", 5)]
    assert order == [7, 0, 4, 5, 2, 3]


def test_scenes_without_a_place_share_none():
    history = bank(("", ""), ("", ""))
    chosen = pack(history, (), "", 3)
    assert [slot.why for slot in chosen[1:]] == ["most recent of the rest"] * 3
    assert all(slot.hints == (0.0,) * 4 for slot in chosen)


@pytest.mark.parametrize("seed", range(20))
def test_any_history(seed: int):
    """The previous end frame first, no frame twice, anchors kept as long as there are slots, all of it repeatable."""
    rng = np.random.default_rng(seed)
    history = random_bank(rng, int(rng.integers(1, 30)))
    named = tuple(rng.permutation(PEOPLE)[: rng.integers(0, 4)])
    place, slots = str(rng.choice(PLACES)), int(rng.integers(0, 8))
    chosen = pack(history, named, place, slots)
    frames = [slot.frame for slot in chosen]
    assert frames[0] == len(history) - 1 and history[frames[0]].end
    assert len(set(frames)) == len(frames) == 1 + min(slots, len(history) - 1)
    appear = [next((i for i, f in enumerate(history) if name in f.characters), None) for name in named]
    anchors = list(dict.fromkeys(i for i in appear if i is not None and i != frames[0]))
    assert frames[1 : 1 + len(anchors)] == anchors[:slots]
    assert chosen == pack(list(history), named, place, slots)


def test_hints_name_at_most_three():
    frame = BankFrame(0, False, frozenset(PEOPLE), "beach")
    assert hints(frame, PEOPLE, "wood") == (1.0, 1.0, 1.0, 0.0)
    assert hints(frame, (), "beach") == (0.0, 0.0, 0.0, 1.0)


def test_slots_as_arrays():
    history = bank(("mia", "beach"), ("mia", "beach"))
    latents = np.arange(4 * 2, dtype=np.float32).reshape(4, 2, 1, 1) + 1
    chosen = pack(history, ("mia",), "beach", 2)
    found, valid, hinted = fill_slots(chosen, latents, 5)
    np.testing.assert_array_equal(found[:, 0, 0, 0], [7, 1, 5, 0, 0])
    np.testing.assert_array_equal(valid, [True, True, True, False, False])
    np.testing.assert_array_equal(hinted, [[1, 0, 0, 1]] * 3 + [[0] * 4] * 2)
    assert found.dtype == hinted.dtype == np.float32
