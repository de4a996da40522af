"""Peak signal-to-noise ratio of 8-bit pictures."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt8

PEAK = 255.0
MOST = 100.0  # dB: what an exact copy counts, whose ratio is infinite


def psnr(
    pictures: UInt8[np.ndarray, "n h w 3"],
    truth: UInt8[np.ndarray, "n h w 3"],
    where: Bool[np.ndarray, "n h w"] | None = None,
) -> Float[np.ndarray, " n"]:
    """dB of each picture, over all its pixels or over those of `where` (NaN if there are none)."""
    squared = np.square(pictures.astype(np.float64) - truth).mean(-1)
    if where is None:
        error = squared.mean((1, 2))
    else:
        pixels = where.sum((1, 2))
        error = np.where(pixels > 0, (squared * where).sum((1, 2)) / np.maximum(pixels, 1), np.nan)
    return np.minimum(-10 * np.log10(np.maximum(error, 1e-12) / PEAK**2), MOST)
