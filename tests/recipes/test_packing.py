"""Sizes of a memory pack: its budget for any number of frames, and the modes' own areas."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from stage_jax.recipes.packing import PACKINGS, memory_sizes, paper_sizes, release_sizes
from stage_jax.recipes.step2_config import TINY, STEP2Config

FRAMES = [(h, w) for h in (2, 4, 8, 10, 32, 60, 90, 108) for w in (2, 4, 6, 8, 16, 64, 104, 160, 192)]


@pytest.mark.smoke
def test_sizes_of_the_tiny_model():
    assert memory_sizes(TINY, 8, 8) == ((8, 8), (6, 6), (4, 4), (2, 2), (2, 2))
    assert memory_sizes(TINY, 2, 2) == ((2, 2),)
    assert memory_sizes(dataclasses.replace(TINY, slots=2), 8, 8) == ((8, 8), (6, 6))
    assert memory_sizes(STEP2Config(packing="release"), 8, 8) == ((8, 8), (8, 8), (4, 4), (2, 2))
    assert memory_sizes(STEP2Config(packing="off"), 8, 8) == ()


@pytest.mark.parametrize(("packing", "previous", "most", "reached"), [
    ("paper", False, 1.0, False), ("paper", True, 2.0, False), ("release", True, 7 / 3, True), ("off", True, 0.0, True),
])  # fmt: skip
def test_budget_for_banks_of_0_to_500_frames(packing: str, previous: bool, most: float, reached: bool):
    """Of n frames the first take as many places as there are; their tokens never pass the budget, and it is not wasted."""
    recipe = STEP2Config(packing=packing, previous=previous)
    for height, width in FRAMES:
        areas = np.array([math.prod(size) for size in memory_sizes(recipe, height, width)]) / (height * width)
        used = np.array([0, *np.cumsum(areas)])[np.minimum(np.arange(501), len(areas))]
        assert (used <= most + 1e-12).all() and (reached or used.max() < most)
        assert min(height, width) < 32 or used.max() >= 0.93 * most


@pytest.mark.parametrize("packing", ["paper", "release"])
def test_sides_are_even_fall_and_do_not_depend_on_the_number_of_frames(packing: str):
    for height, width in FRAMES:
        sizes = PACKINGS[packing](height, width, 1000)
        assert all(side >= 2 and side % 2 == 0 for size in sizes for side in size)
        assert list(sizes) == sorted(sizes, reverse=True)
        assert all(PACKINGS[packing](height, width, n) == sizes[:n] for n in range(len(sizes) + 3))


def test_areas_are_the_papers_and_the_releases():
    """Far from the rounding: 1/2, 1/4, ... of a frame; and sides 1, 1, 1/2, 1/4, ..."""
    areas = [math.prod(s) / (108 * 192) for s in paper_sizes(108, 192)]
    np.testing.assert_allclose(areas[:4], [1 / 2, 1 / 4, 1 / 8, 1 / 16], rtol=0.06)
    assert release_sizes(108, 192)[:5] == ((108, 192), (108, 192), (54, 96), (26, 48), (12, 24))
