"""Pictures as PNG files: the same bytes for the same picture."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from stage_jax.files import write_bytes


def png_bytes(image: UInt8[np.ndarray, "H W 3"]) -> bytes:
    """The RGB picture as a PNG without any text or time in it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def write_png(path: str | Path, image: UInt8[np.ndarray, "H W 3"]) -> None:
    """Write the picture whole or not at all. Raises OSError when the file cannot be written."""
    write_bytes(path, png_bytes(image))


def fit(image: UInt8[np.ndarray, "H W 3"], long_side: int) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with its longer side at most `long_side` pixels: made smaller (Lanczos) if need be, never larger."""
    height, width = image.shape[:2]
    factor = long_side / max(height, width)
    if factor >= 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))
