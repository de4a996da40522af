"""Sizes of the places of a memory pack, from the size of a frame alone: they are the same for stories of any length.

Lengths are of latents; a token is a patch of 2x2 of them. Each function: (height, width, n) -> sizes of the first n ranked
frames, most relevant first; fewer than n where the packing has no more places.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from stage_jax.recipes.step2_config import STEP2Config

Sizes = tuple[tuple[int, int], ...]
ALL = 1000  # far more frames than any packing has places


def paper_sizes(height: int, width: int, n: int = ALL) -> Sizes:
    """The paper's areas 1/2^j: sides times 2^(-j/2), rounded to even. Frames under one patch are left out, and those that
    would bring the sum to a whole frame."""
    sizes: list[tuple[int, int]] = []
    used, j = 0, 1
    while min(height, width) * 2 ** (-j / 2) >= 2 - 1e-9 and len(sizes) < n:
        size = tuple(max(2, 2 * round(side * 2 ** (-j / 2) / 2)) for side in (height, width))
        if used + math.prod(size) < height * width:
            sizes.append(size)
            used += math.prod(size)
        j += 1
    return tuple(sizes)


def release_sizes(height: int, width: int, n: int = ALL) -> Sizes:
    """The release's: two frames in full, then sides times 1/2^(k-1) for k = 2, 3, ..., rounded down to even, so that the sum
    is at most 7/3 frames. Frames under one patch are left out."""
    sizes = [(height, width)] * 2
    while min(sides := (height >> len(sizes) - 1, width >> len(sizes) - 1)) >= 2 and len(sizes) < n:
        sizes.append(tuple(side // 2 * 2 for side in sides))
    return tuple(sizes[:n])


def no_sizes(height: int, width: int, n: int = ALL) -> Sizes:
    return ()


PACKINGS: Mapping[str, Callable[[int, int, int], Sizes]] = {
    "paper": paper_sizes,
    "release": release_sizes,
    "off": no_sizes,
}


def memory_sizes(recipe: STEP2Config, height: int, width: int) -> Sizes:
    """Sizes of all places that a shot's memory has, the previous end frame's first, if it has one."""
    extra = ((height, width),) if recipe.previous and recipe.packing == "paper" else ()
    return (*extra, *PACKINGS[recipe.packing](height, width, ALL))[: recipe.slots]
