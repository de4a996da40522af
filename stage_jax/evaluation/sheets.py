"""Pictures for people: rows of frames under one another, and bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from stage_jax.evaluation.figures import Figure, shown

PAPER, INK, SOFT = (250, 249, 245), (34, 33, 30), (120, 116, 106)
BARS = ((90, 130, 110), (190, 180, 160), (200, 110, 90), (100, 110, 170))
MARGIN, GAP, LABEL, HEAD = 16, 4, 170, 22  # pixels


def frame_rows(rows: Sequence[tuple[str, UInt8[np.ndarray, "_ h w 3"]]], scale: int = 2) -> UInt8[np.ndarray, "H W 3"]:
    """Rows of equally large frames, each with a label at its left, enlarged by whole pixels. An empty label with no frames
    is a gap."""
    h, w = next(frames.shape[1:3] for _, frames in rows if len(frames))
    columns = max(len(frames) for _, frames in rows)
    size = (2 * MARGIN + LABEL + columns * (w * scale + GAP), 2 * MARGIN + len(rows) * (h * scale + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, (label, frames) in enumerate(rows):
        top = MARGIN + row * (h * scale + GAP)
        draw.text((MARGIN, top + 4), label, font=ImageFont.load_default(13), fill=INK)
        for column, frame in enumerate(frames):
            picture = Image.fromarray(frame).resize((w * scale, h * scale), Image.Resampling.NEAREST)
            sheet.paste(picture, (MARGIN + LABEL + column * (w * scale + GAP), top))
    return np.asarray(sheet)


def board_rows(
    names: Sequence[str], boards: Mapping[str, Sequence[UInt8[np.ndarray, "_ 2 h w 3"]]], count: int
) -> list[tuple[str, np.ndarray]]:
    """The first boards of several kinds under one another, story by story, start and end of every shot side by side."""
    return [
        (f"{name}\n{kind}", board[i].reshape(-1, *board[i].shape[2:]))
        for i, name in enumerate(names[:count])
        for kind, board in boards.items()
    ]


def bar_chart(title: str, groups: Mapping[str, Sequence[Figure]], height: int = 260) -> UInt8[np.ndarray, "H W 3"]:
    """Groups of bars from 0, a bar a figure with its value and standard error; all groups in the same order of bars."""
    wide, between = 64, 36
    names = [figure.what for figure in next(iter(groups.values()))]
    top = max(figure.value for figures in groups.values() for figure in figures) * 1.1 or 1.0
    width = max(2 * MARGIN + sum(len(figures) * wide + between for figures in groups.values()), 520)
    image = Image.new("RGB", (width, height + 4 * HEAD + 2 * MARGIN), PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(13)
    draw.text((MARGIN, MARGIN), title, font=ImageFont.load_default(16), fill=INK)
    left, foot = MARGIN, MARGIN + 2 * HEAD + height
    for name, figures in groups.items():
        draw.text((left, foot + 4), name, font=font, fill=INK)
        for figure, colour in zip(figures, BARS, strict=False):
            y = foot - round(height * figure.value / top)
            draw.rectangle((left, y, left + wide - 6, foot), fill=colour)
            if figure.error:
                spread = round(height * figure.error / top)
                middle = left + (wide - 6) // 2
                draw.line((middle, y - spread, middle, y + spread), fill=INK, width=2)
            draw.text((left, y - 18), shown(figure.value, figure.unit), font=font, fill=SOFT)
            left += wide
        left += between
    at = MARGIN
    for name, colour in zip(names, BARS, strict=False):
        draw.rectangle((at, foot + HEAD + 10, at + 12, foot + HEAD + 22), fill=colour)
        draw.text((at + 18, foot + HEAD + 7), name, font=font, fill=INK)
        at += 40 + round(font.getlength(name))
    return np.asarray(image)
