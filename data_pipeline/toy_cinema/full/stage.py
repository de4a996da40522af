"""The places of level `full`: a sky, a ground and a prop, any with any, marked so that every camera move shows.

All marks and props are duller than the figures; marks stand at uneven distances, so that no move maps them on themselves.
"""

from __future__ import annotations

import dataclasses

from PIL import Image

from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.figures import Colour, Length, Pen
from data_pipeline.toy_cinema.full.world import FullPlace, View

HORIZON = 40.0
FAR = 4 * lengths.SIDE
GOLDEN = 0.61803
MARKS = 15  # of a sky, and of a ground


@dataclasses.dataclass(frozen=True)
class Look:
    """Of a sky or a ground: its colour, and the kind and colour of its marks."""

    colour: Colour
    mark: str
    marks: Colour


SKIES = {
    "day": Look((176, 214, 250), "puff", (226, 240, 252)),
    "night": Look((30, 32, 74), "dot", (120, 124, 160)),
    "sunset": Look((244, 176, 150), "dash", (250, 206, 176)),
    "cloudy": Look((158, 166, 178), "puff", (194, 200, 208)),
    "dawn": Look((226, 208, 232), "dash", (200, 176, 214)),
    "storm": Look((66, 88, 96), "streak", (106, 132, 140)),
}
GROUNDS = {
    "grass": Look((160, 190, 118), "tuft", (124, 154, 90)),
    "snow": Look((228, 234, 244), "dot", (188, 202, 224)),
    "sand": Look((236, 212, 166), "dash", (208, 180, 132)),
    "stone": Look((112, 106, 112), "dash", (84, 78, 86)),
    "clay": Look((160, 122, 104), "dot", (128, 92, 76)),
}


class StagePen(Pen):
    """Draws in the lengths of the stage what a view shows of it."""

    def __init__(self, image: Image.Image, scale: float, view: View):
        super().__init__(image, scale)
        self.view = view

    def _points(self, points) -> list[tuple[float, float]]:
        return super()._points([self.view.shown(x, y) for x, y in points])


def draw_stage(pen: Pen, place: FullPlace) -> None:
    sky, ground = SKIES[place.sky], GROUNDS[place.ground]
    pen.box(-FAR, -FAR, FAR, FAR, sky.colour)
    _marks(pen, sky, -16, HORIZON - 4)
    pen.box(-FAR, HORIZON, FAR, FAR, ground.colour)
    _marks(pen, ground, HORIZON + 3, 74)
    _prop(pen, place.prop)


def _marks(pen: Pen, look: Look, top: Length, bottom: Length) -> None:
    for i in range(MARKS):
        x = -28 + 124 * (i + 0.5 + 0.3 * ((7 * i) % 5 - 2) / 2) / MARKS
        y = top + (bottom - top) * ((i * GOLDEN) % 1.0)
        wide = 1 + 0.25 * ((3 * i) % 4)
        if look.mark == "puff":
            pen.disc(x, y, 4.5 * wide, 2.0, look.marks)
            pen.disc(x + wide, y - 1.6, 2.2 * wide, 1.8, look.marks)
        elif look.mark == "dot":
            pen.disc(x, y, 1.1 * wide, 1.1 * wide, look.marks)
        elif look.mark == "dash":
            pen.box(x - 3.2 * wide, y - 0.8, x + 3.2 * wide, y + 0.8, look.marks)
        elif look.mark == "streak":
            low, high = y + 3 * wide, y - 3 * wide
            pen.polygon([(x, high), (x + 1.3, high), (x - 1.2, low), (x - 2.5, low)], look.marks)
        else:
            pen.polygon([(x - 2.2, y + 1.5), (x, y - 2 * wide), (x + 2.2, y + 1.5)], look.marks)


def _prop(pen: Pen, prop: str) -> None:
    """Props stand at the right or the left, in two tones: one of them shows on every sky and ground."""
    if prop == "tree":
        pen.box(48.5, 28, 54, 46, (112, 72, 40))
        pen.disc(51, 19, 10, 12, (86, 118, 74))
        pen.disc(48, 15, 4, 4.5, (122, 152, 104))
    elif prop == "house":
        pen.box(3, 24, 21, 45, (142, 100, 84))
        pen.polygon([(0, 25), (24, 25), (12, 12)], (92, 82, 110))
        pen.box(8, 30, 15, 37, (244, 220, 150))
    elif prop == "cactus":
        pen.box(47.5, 14, 54.5, 47, (78, 112, 92))
        for x0, y0, x1, y1 in ((41, 23, 44.5, 33), (41, 29, 48, 33), (57.5, 18, 61, 29), (54, 26, 61, 30)):
            pen.box(x0, y0, x1, y1, (78, 112, 92))
        pen.box(49, 17, 50.5, 44, (150, 178, 158))
    elif prop == "tower":
        pen.box(5, 14, 19, 46, (92, 76, 92))
        for left in (3, 9.5, 16):
            pen.box(left, 7, left + 5, 16, (92, 76, 92))
        pen.box(10, 22, 14, 31, (226, 204, 156))
    elif prop == "lamp":
        pen.box(49.5, 16, 52.5, 46, (70, 66, 74))
        pen.box(46, 44, 56, 47, (70, 66, 74))
        pen.disc(51, 12, 6, 6, (70, 66, 74))
        pen.disc(51, 12, 4.4, 4.4, (250, 240, 196))
    else:
        pen.polygon([(-4, 46), (13, 18), (30, 46)], (134, 150, 172))
        pen.polygon([(7, 46), (13, 28), (19, 46)], (86, 72, 78))
