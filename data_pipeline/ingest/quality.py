"""How sharp and how bright a picture is, and its colours."""

from __future__ import annotations

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

LEVELS = 4  # of each colour, in a histogram


def sharpness(grey: UInt8[np.ndarray, "height width"]) -> float:
    """Standard deviation of the Laplacian, in grey levels of 255 at the picture's own size."""
    return float(cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))[1].item())


def colours(picture: UInt8[np.ndarray, "height width 3"]) -> Float32[np.ndarray, "64"]:
    """The part of the picture that has each of 64 colours."""
    red, green, blue = (picture // (256 // LEVELS)).reshape(-1, 3).astype(np.int32).T
    counts = np.bincount((red * LEVELS + green) * LEVELS + blue, minlength=LEVELS**3)
    return (counts / counts.sum()).astype(np.float32)


def common_colours(one: Float32[np.ndarray, "64"], other: Float32[np.ndarray, "64"]) -> float:
    """The part of two pictures that has the same colours, 0 to 1 (histogram intersection)."""
    return float(np.minimum(one, other).sum())
