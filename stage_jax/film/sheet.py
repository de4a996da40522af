"""The contact sheet: all pairs of a board on one picture, start and end side by side."""

from __future__ import annotations

import textwrap

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from stage_jax.film.fonts import font, shown
from stage_jax.film.timecode import shot_spans, timecode
from stage_jax.story.board import Board, BoardShot

PAPER, INK, SOFT, LINE = (250, 249, 245), (34, 33, 30), (120, 116, 106), (215, 211, 200)
# In pixels: height of a frame on the sheet, outer margin, gap between cells, height of the words under a pair.
FRAME, MARGIN, GAP, WORDS = 192, 40, 28, 74
HEADER = 76
MOST = 300  # shots on a sheet: a hundred rows of three, some 30,000 pixels
LONGEST = 500  # characters of a text that are laid out at all: more than any sheet is wide


def contact_sheet(board: Board, columns: int = 3) -> UInt8[np.ndarray, "H W 3"]:
    """The pairs in story order, `columns` to a row, with name, timecode and the beginning of the caption; the first `MOST` of
    a longer story.

    Frames smaller than 192 pixels are enlarged by whole pixels, larger ones reduced (Lanczos); a board without shots gives a
    sheet with its title alone.
    """
    pictures = [(_frame(shot.pair.start), _frame(shot.pair.end)) for shot in board.shots[:MOST]]
    cell = max((start.width + end.width + 6 for start, end in pictures), default=400)
    columns = max(1, min(columns, len(pictures)))
    rows = -(-len(pictures) // columns)
    tall = max((max(start.height, end.height) for start, end in pictures), default=0)
    step = tall + WORDS + GAP
    size = (2 * MARGIN + columns * cell + (columns - 1) * GAP, HEADER + MARGIN + rows * step)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    spans = shot_spans(board)
    length = timecode(spans[-1][1] if spans else 0, board.fps)
    _line(draw, (MARGIN, 24), board.story.title or "Untitled", 26, INK, size[0] - 2 * MARGIN)
    facts = f"{len(board.shots):,} shots, {length} at {board.fps:g} fps"
    if len(pictures) < len(board.shots):
        facts += f"; the first {len(pictures)}"
    _line(draw, (MARGIN, 56), facts, 13, SOFT, size[0] - 2 * MARGIN)
    for index, (shot, (start, end)) in enumerate(zip(board.shots[:MOST], pictures, strict=True)):
        left = MARGIN + index % columns * (cell + GAP)
        top = HEADER + 24 + index // columns * step
        sheet.paste(start, (left, top))
        sheet.paste(end, (left + start.width + 6, top))
        _words(draw, shot, f"{timecode(spans[index][0], board.fps)}", (left, top + tall + 8), cell)
    return np.asarray(sheet)


def _frame(image: UInt8[np.ndarray, "H W 3"]) -> Image.Image:
    picture = Image.fromarray(image)
    if picture.height > FRAME:
        return picture.resize((max(1, round(picture.width * FRAME / picture.height)), FRAME), Image.Resampling.LANCZOS)
    factor = FRAME // picture.height
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def _words(draw: ImageDraw.ImageDraw, shot: BoardShot, begin: str, at: tuple[int, int], width: int) -> None:
    """Name and timecode on one line, then two lines of the caption."""
    left, top = at
    draw.line((left, top - 2, left + width, top - 2), fill=LINE)
    _line(draw, (left, top), shot.name, 13, INK, width - 100)
    draw.text((left + width, top), begin, font=font(12), fill=SOFT, anchor="ra")
    letters = max(8, int(width / font(12).getlength("n")))
    lines = textwrap.wrap(shot.caption, letters, max_lines=2, placeholder=" …")
    for row, line in enumerate(lines):
        _line(draw, (left, top + 20 + 16 * row), line, 12, SOFT, width)


def _line(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], words: str, size: int, fill: tuple[int, int, int], width: int
) -> None:
    """One line of text, cut where it would leave `width` pixels."""
    letters = font(size)
    words = shown(" ".join(words[:LONGEST].split()))
    if letters.getlength(words) > width:
        while words and letters.getlength(words + "…") > width:
            words = words[:-1]
        words += "…"
    draw.text(at, words, font=letters, fill=fill)
