"""Batches of one size, so that one program is compiled however many items there are."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Shaped

Rows = list[int]


def row_batches(n: int, size: int) -> list[tuple[Rows, int]]:
    """All rows 0 to n - 1 in batches of exactly `size`, the last one filled up with its last row; how many of each count."""
    starts = range(0, n, size)
    return [([min(row, n - 1) for row in range(start, start + size)], min(size, n - start)) for start in starts]


def mapped(
    function: Callable[[Rows], Shaped[np.ndarray, "size *rest"]],
    n: int,
    size: int,
    progress: Callable[[int, int], None] | None = None,
) -> Shaped[np.ndarray, "n *rest"]:
    """`function` over all rows, in batches of `size`; its results joined."""
    results, done = [], 0
    for rows, count in row_batches(n, size):
        results.append(np.asarray(function(rows))[:count])
        done += count
        if progress:
            progress(done, n)
    return np.concatenate(results)
