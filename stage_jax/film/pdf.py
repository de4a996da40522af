"""The storyboard as a PDF to print: A4, four shots a page, each with its pair, place, time, camera, action and words."""

from __future__ import annotations

import datetime

import numpy as np
from fpdf import FPDF
from jaxtyping import UInt8
from PIL import Image

from stage_jax.film.fonts import BOLD, REGULAR, shown
from stage_jax.film.png import fit
from stage_jax.film.timecode import shot_spans, timecode
from stage_jax.film.timeline import one_line
from stage_jax.story.board import Board, BoardShot

COLUMNS, ROWS = 2, 2
# In millimetres: the page, its margin, the gap between columns, the title's height; of a shot: its heading, its pictures.
PAGE, MARGIN, GAP, TITLE = (297.0, 210.0), 12.0, 9.0, 17.0
HEAD, PICTURES, ARROW = 9.5, 48.0, 7.0
LEADING = 0.44  # mm of a line for a point of its letters
SMALL = 7  # points of the smallest letters
INK, SOFT, LINE = (30, 30, 28), (110, 108, 102), (200, 198, 190)
FRAME = 960  # the longest side of a picture in the file, in pixels
LONGEST = 2000  # characters of a text that are laid out at all; a shot has room for about 700


def storyboard_pdf(board: Board) -> bytes:
    """The file; the same bytes for the same board. A text that has no room ends in "…"."""
    pdf = FPDF("landscape", "mm", "A4")
    pdf.set_creation_date(datetime.datetime(2000, 1, 1, tzinfo=datetime.UTC))
    pdf.set_title(one_line(board.story.title) or "Untitled")
    pdf.add_font("dejavu", "", REGULAR)
    pdf.add_font("dejavu", "B", BOLD)
    pdf.set_text_shaping(True)  # right-to-left scripts in their order, Arabic letters joined
    pdf.set_auto_page_break(False)
    pdf.c_margin = 0
    pdf.alias_nb_pages(None)  # it would put a number into a story that says {nb}
    pages = max(1, -(-len(board.shots) // (COLUMNS * ROWS)))
    spans = shot_spans(board)
    width = (PAGE[0] - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    height = (PAGE[1] - 2 * MARGIN - TITLE) / ROWS
    for page in range(pages):
        pdf.add_page()
        _title(pdf, board, spans, f"{page + 1} / {pages}")
        for place in range(COLUMNS * ROWS):
            index = page * COLUMNS * ROWS + place
            if index < len(board.shots):
                row, column = divmod(place, COLUMNS)
                pdf.set_xy(MARGIN + column * (width + GAP), MARGIN + TITLE + row * height)
                _shot(pdf, board, index, spans[index], width, height - GAP / 6)
    return bytes(pdf.output())


def _title(pdf: FPDF, board: Board, spans: tuple[tuple[int, int], ...], page: str) -> None:
    pdf.set_xy(MARGIN, MARGIN)
    _lines(pdf, board.story.title or "Untitled", PAGE[0] - 2 * MARGIN - 30, 15, 1, style="B")
    length = timecode(spans[-1][1] if spans else 0, board.fps)
    facts = f"Storyboard, {len(board.shots)} shots, {length} at {board.fps:g} frames a second"
    _lines(pdf, facts, PAGE[0] - 2 * MARGIN, 8, 1, colour=SOFT)
    pdf.set_xy(MARGIN, MARGIN)
    _lines(pdf, page, PAGE[0] - 2 * MARGIN, 9, 1, colour=SOFT, align="R")


def _shot(pdf: FPDF, board: Board, index: int, span: tuple[int, int], width: float, height: float) -> None:
    shot, (begin, end) = board.shots[index], span
    x, y = pdf.get_x(), pdf.get_y()
    pdf.set_draw_color(*LINE)
    pdf.line(x, y, x + width, y)
    pdf.set_xy(x, y + 1)
    _lines(pdf, f"{index + 1}    {shot.name}", width, 9, 1, style="B")
    _lines(pdf, shot.scene.heading, width * 0.7, SMALL, 1, colour=SOFT)
    pdf.set_xy(x, y + 1)
    frames = f"{timecode(begin, board.fps)} – {timecode(end, board.fps)}"
    _lines(pdf, frames, width, 7.5, 1, align="R")
    _lines(pdf, f"{end - begin} frames, {(end - begin) / board.fps:.2f} s", width, SMALL, 1, colour=SOFT, align="R")
    tall = _pair(pdf, shot, x, y + HEAD, width)
    pdf.set_xy(x, y + HEAD + tall + 1.2)
    spare = int((PICTURES - tall) / (8 * LEADING))
    people = {character.id: character.name for character in board.story.characters}
    camera = [shot.shot.size, shot.shot.angle, shot.shot.movement, ", ".join(people.get(w, w) for w in shot.shot.characters)]
    rows = [
        (" · ".join(filter(None, [*camera, shot.shot.transition])), SMALL, 1, SOFT),
        (shot.caption, 8, 3 + spare, INK),
        (shot.shot.dialogue and f"“{shot.shot.dialogue}”", 8, 2, INK),
    ]
    for text, size, most, colour in rows:
        _lines(pdf, text, width, size, most, colour=colour)
    left = int((y + height - pdf.get_y()) / (SMALL * LEADING))  # lines, which the notes may have
    _lines(pdf, shot.shot.notes, width, SMALL, max(left, 1), colour=SOFT)


def _pair(pdf: FPDF, shot: BoardShot, x: float, y: float, width: float) -> float:
    """Start and end as large as fits, an arrow between them; returns their height."""
    tall, wide = shot.pair.start.shape[:2]
    factor = min(PICTURES / tall, (width - ARROW) / 2 / wide)
    w, h = wide * factor, tall * factor
    left = x + (width - 2 * w - ARROW) / 2
    for picture, at in ((shot.pair.start, left), (shot.pair.end, left + w + ARROW)):
        pdf.image(_image(picture), at, y, w, h)
        pdf.rect(at, y, w, h)
    pdf.set_xy(left + w, y + h / 2 - 2)
    _lines(pdf, "→", ARROW, 11, 1, colour=SOFT, align="C")
    return h


def _image(picture: UInt8[np.ndarray, "H W 3"]) -> Image.Image:
    return Image.fromarray(fit(picture, FRAME))


def _lines(
    pdf: FPDF,
    text: str,
    width: float,
    size: int | float,
    most: int,
    *,
    style: str = "",
    colour: tuple[int, int, int] = INK,
    align: str = "L",
) -> None:
    """At most `most` lines of a text from here downward; what does not fit ends in "…"."""
    text = shown(one_line(text[:LONGEST]))
    if not text:
        return
    x = pdf.get_x()
    pdf.set_font("dejavu", style, size)
    pdf.set_text_color(*colour)
    height = size * LEADING
    lines = _wrapped(pdf, text, width, height)
    if len(lines) > most:
        text = " ".join(lines[:most])
        while len(_wrapped(pdf, text + "…", width, height)) > most:
            text = text[:-1]
        text += "…"
    pdf.multi_cell(width, height, text, align=align, new_x="LEFT", new_y="NEXT")
    pdf.set_x(x)


def _wrapped(pdf: FPDF, text: str, width: float, height: float) -> list[str]:
    return pdf.multi_cell(width, height, text, dry_run=True, output="LINES")
