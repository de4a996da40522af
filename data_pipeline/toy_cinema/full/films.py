"""A story of level `full` as the frames of a wide film: what ingest is measured on."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.figures import Pen, paint_figure
from data_pipeline.toy_cinema.full import world
from data_pipeline.toy_cinema.full.render import shot_figures
from data_pipeline.toy_cinema.full.stage import StagePen, draw_stage
from data_pipeline.toy_cinema.full.world import FullStory, View

WIDE = View(lengths.SIDE / 2, lengths.SIDE / 2, 0.55)  # as far as any camera of a story looks
LARGER = 2  # how many times larger than the film the stage is painted
EYE_LINE = 38.0  # height in the square picture that is in the middle of the wide one


def film_frames(
    story: FullStory, shot_index: int, frames: int, height: int, width: int
) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """The frames of a shot, RGB: the square picture at `width`, of which a strip of `height` is shown.

    The stage is painted once and looked at through each frame's view, so that a moving camera costs no painting."""
    side = LARGER * width
    image = Image.new("RGB", (side, side))
    shot = story.shots[shot_index]
    draw_stage(StagePen(image, side / lengths.SIDE, WIDE), story.places[shot.place])
    stage, top = np.asarray(image), round(EYE_LINE * width / lengths.SIDE - height / 2)
    for i in range(frames):
        phase = i / max(frames - 1, 1)
        square = Image.fromarray(_looked_at(stage, world.view(shot.size, shot.camera, phase), width))
        pen = Pen(square, width / lengths.SIDE)
        for figure in shot_figures(shot, story.characters, phase):
            paint_figure(pen, figure)
        yield np.asarray(square)[top : top + height]


def _looked_at(stage: np.ndarray, view: View, width: int) -> np.ndarray:
    """The square picture that `view` shows of the painted stage."""
    unit, painted = width / lengths.SIDE, len(stage) / lengths.SIDE
    grown = WIDE.zoom * painted / (view.zoom * unit)  # painted pixels in one of the picture

    def offset(seen: float, wide: float) -> float:
        return painted * (lengths.SIDE / 2 + WIDE.zoom * (seen - lengths.SIDE / 2 / view.zoom - wide))

    matrix = np.array([[grown, 0, offset(view.x, WIDE.x)], [0, grown, offset(view.y, WIDE.y)]])
    return cv2.warpAffine(stage, matrix, (width, width), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
