"""Start and end frames that a person gives: SC01_SH010_start.png, SC01_SH010_end.png, ..."""

from __future__ import annotations

import contextlib
import struct
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from stage_jax.errors import InputError
from stage_jax.story.board import Pair
from stage_jax.story.tables import listed_once
from stage_jax.story.types import Story

SUFFIXES = (".png", ".jpg")
FORMATS = ("PNG", "JPEG")
MOST_PIXELS = 100_000_000  # of one picture: 300 MB in memory, past every film format
# What Pillow raises for EXIF that is broken; the picture beside it is whole.
EXIF_ERRORS = (ArithmeticError, AttributeError, LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error)


def read_pairs(folder: str | Path, story: Story) -> dict[str, Pair]:
    """The pair of every shot of `story` by the shot's name, as the pictures are: any size, RGB.

    Raises InputError if pictures are missing (all named at once), or for the first that is none.
    """
    found = _files(Path(folder), story)
    names = [f"{story.shot_name(scene, shot)}_{which}" for scene, shot in story.shots() for which in ("start", "end")]
    if missing := [f"{name}.png" for name in names if tuple(name.rsplit("_", 1)) not in found]:
        raise InputError(f"{folder}: {len(missing):,} pictures are missing: {listed_once(missing)} (expected .png or .jpg)")
    pictures = {key: read_picture(file) for key, file in found.items()}
    return {name: Pair(start=pictures[name, "start"], end=pictures[name, "end"]) for name, _ in found}


def read_frames(folder: str | Path, story: Story) -> dict[tuple[str, str], UInt8[np.ndarray, "height width 3"]]:
    """Those pictures that there are of a story's frames, by shot and "start" or "end". InputError if there are none."""
    found = _files(Path(folder), story)
    if not found:
        raise InputError(f"{folder}: no picture of the story, expected {_example(story)}")
    return {key: read_picture(file) for key, file in found.items()}


def _files(folder: Path, story: Story) -> dict[tuple[str, str], Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder, expected one with {_example(story)}")
    names = [(story.shot_name(scene, shot), which) for scene, shot in story.shots() for which in ("start", "end")]
    files = {key: next((p for s in SUFFIXES if (p := folder / f"{'_'.join(key)}{s}").is_file()), None) for key in names}
    return {key: file for key, file in files.items() if file}


def read_picture(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """A PNG or JPEG file as RGB, upright as its EXIF orientation says, transparency over black.

    Raises InputError if it is broken, huge or something else.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's: of a limit lower than MOST_PIXELS, of broken EXIF
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise Image.DecompressionBombError
                image.verify()  # PNG's checksums; a picture has to be opened again after it
            with Image.open(path, formats=FORMATS) as image:
                image.load()
                _turn_upright(image)
                return np.asarray(_rgb(image))
    except Image.DecompressionBombError:
        raise InputError(f"{path}: a picture of over {MOST_PIXELS // 10**6} million pixels, expected less") from None
    except (OSError, SyntaxError, ValueError, EOFError):  # what Pillow raises for pictures that are none, or cut short
        raise InputError(f"{path}: not a picture that can be read, expected a whole PNG or JPEG file") from None


def _turn_upright(image: Image.Image) -> None:
    with contextlib.suppress(*EXIF_ERRORS):
        ImageOps.exif_transpose(image, in_place=True)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits a channel in grey: convert() alone would cut it off at 255
        return Image.fromarray((np.asarray(image, np.float64) / 257).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", over.size, "black"), over).convert("RGB")
    return image.convert("RGB")


def _example(story: Story) -> str:
    scene, shot = next(story.shots())
    return f"{story.shot_name(scene, shot)}_start.png and its kind"
