"""The animatic: each shot's start frame, then its end frame, as long as the film is, with the shot's name and timecode."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

from stage_jax.film.fonts import font
from stage_jax.film.timecode import shot_spans, timecode
from stage_jax.story.board import Board

INK, BAND = (235, 235, 230), (12, 12, 12)


def animatic_frames(board: Board, scale: int) -> Iterator[UInt8[np.ndarray, "H W 3"]]:
    """The frames, one at a time, as many as the film has. A picture is enlarged `scale` times and stands over a black band with
    the shot's name, which frame it is, and the film's timecode. The start frame has the frame in the middle."""
    for shot, (begin, end) in zip(board.shots, shot_spans(board), strict=True):
        pictures = {which: getattr(shot.pair, which).repeat(scale, 0).repeat(scale, 1) for which in ("start", "end")}
        for frame in range(begin, end):
            which = "start" if 2 * (frame - begin) < end - begin else "end"
            picture = pictures[which]
            words = (f"{shot.name} {which}", timecode(frame, board.fps))
            yield np.concatenate([picture, _band(picture.shape[1], picture.shape[0], words)])


def _band(width: int, height: int, words: tuple[str, str]) -> UInt8[np.ndarray, "H W 3"]:
    """Two words at the ends of a black band; its height is even, a fourteenth of the picture's."""
    band = Image.new("RGB", (width, 2 * max(12, height // 28)), BAND)
    letters = font(band.height // 2)
    draw = ImageDraw.Draw(band)
    for text, x, anchor in ((words[0], band.height // 3, "lm"), (words[1], width - band.height // 3, "rm")):
        draw.text((x, band.height // 2), text, font=letters, fill=INK, anchor=anchor)
    return np.asarray(band)
