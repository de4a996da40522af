"""Pictures of any shape brought to the shape that a model takes."""

from __future__ import annotations

import numpy as np
from jaxtyping import UInt8
from PIL import Image


def fit_picture(image: UInt8[np.ndarray, "h w 3"], size: int | tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Resizes a picture (Lanczos) until it covers `size` (a side, or height and width) and cuts out its centre."""
    height, width = (size, size) if isinstance(size, int) else size
    h, w = image.shape[:2]
    if (h, w) == (height, width):
        return image
    # Resizing from the box crops and scales in one filter pass.
    box = covering_box(h, w, height, width)
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS, box=box))


def whole_picture(image: UInt8[np.ndarray, "h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "height width 3"]:
    """Resizes a picture (Lanczos) until all of it just fits into `size` (height and width), in the middle. What stays free at
    two sides has the median colour of the picture's rim there: who stands before a plain ground goes on standing before it.

    For portraits, of which `fit_picture` would cut off the head: the middle of an upright one, seen through a wide frame, is
    a belt."""
    h, w = image.shape[:2]
    scale = min(size[0] / h, size[1] / w)
    height, width = (min(max(round(side * scale), 1), most) for side, most in zip((h, w), size, strict=True))
    rim = image[[0, -1]] if height < size[0] else image[:, [0, -1]]
    whole = np.empty((*size, 3), np.uint8)
    whole[:] = np.median(rim.reshape(-1, 3), axis=0).round()
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    whole[top : top + height, left : left + width] = fit_picture(image, (height, width))
    return whole


def covering_box(h: int, w: int, height: int, width: int) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the middle of an h x w picture that has the proportions of height x width."""
    scale = min(h / height, w / width)
    box_h, box_w = height * scale, width * scale
    top, left = (h - box_h) / 2, (w - box_w) / 2
    return left, top, left + box_w, top + box_h
