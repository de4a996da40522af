"""Masks that say where the characters of a story are in a picture: 1 + the index of the character, 0 elsewhere, 255 where
nobody knows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from stage_jax.errors import InputError
from stage_jax.story.pairs import MOST_PIXELS
from stage_jax.story.pictures import covering_box

UNKNOWN = 255  # as PASCAL VOC has it; so at most 254 characters have masks


def read_mask(path: Path, size: tuple[int, int], characters: int) -> UInt8[np.ndarray, "height width"]:
    """A grey or palette PNG of 8 bits, of the height and width of its picture. InputError if it is none, or names a character
    beyond the story's."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            found, mode = (image.height, image.width), image.mode
            if found != size or mode not in ("L", "P") or image.width * image.height > MOST_PIXELS:
                expected = f"{size[0]} x {size[1]} as its picture, L or P"
                raise InputError(f"{path}: found a picture of {found[0]} x {found[1]}, {mode}, expected {expected}")
            mask = np.array(image)
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        raise InputError(f"{path}: not a picture that can be read, expected a whole PNG file") from None
    if mask.max(initial=0) > min(characters, UNKNOWN - 1):
        raise InputError(
            f"{path}: found {mask.max()} in it, expected at most {characters}, the number of the story's characters"
        )
    return mask


def fit_mask(mask: UInt8[np.ndarray, "h w"], size: tuple[int, int]) -> UInt8[np.ndarray, "height width"]:
    """As `fit_picture` fits its picture to height and width, each pixel the nearest."""
    if mask.shape == size:
        return mask
    fitted = Image.fromarray(mask).resize(size[::-1], Image.Resampling.NEAREST, box=covering_box(*mask.shape, *size))
    return np.asarray(fitted)
