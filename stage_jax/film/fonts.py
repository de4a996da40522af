"""The letters of pictures and PDFs: DejaVu Sans, which has Latin, Greek, Cyrillic, Hebrew, Arabic and some emoji."""

from __future__ import annotations

import functools
from importlib import resources
from pathlib import Path

from fontTools.ttLib import TTFont
from PIL import ImageFont

FOLDER = Path(str(resources.files("stage_jax") / "assets/fonts"))
REGULAR, BOLD = FOLDER / "DejaVuSans.ttf", FOLDER / "DejaVuSans-Bold.ttf"
MISSING = "\u25a1"  # a white square


@functools.cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """For Pillow; size in pixels. Right-to-left text is laid out where Pillow finds FriBiDi, else left to right."""
    return ImageFont.truetype(BOLD if bold else REGULAR, size)


def shown(text: str) -> str:
    """The text with a square for each character that the font has no glyph for (Chinese, most emoji)."""
    return "".join(c if ord(c) in _glyphs() or c in "\n\t" else MISSING for c in text)


@functools.cache
def _glyphs() -> frozenset[int]:
    """Code points that both weights have."""
    maps = [TTFont(path, lazy=True).getBestCmap() for path in (REGULAR, BOLD)]
    return frozenset(maps[0].keys() & maps[1].keys())
