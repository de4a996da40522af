"""The figures of the toy world and the pen that draws them with Pillow. Lengths are pixels of a 64 x 64 picture."""

from __future__ import annotations

import dataclasses
import math

from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Length = float | int

COLOURS: dict[str, Colour] = {
    "red": (222, 36, 40),
    "yellow": (255, 222, 40),
    "green": (20, 140, 55),
    "blue": (30, 70, 235),
    "purple": (160, 45, 200),
    "cyan": (30, 215, 215),
    "orange": (255, 120, 0),
    "pink": (255, 90, 190),
}
INK: Colour = (28, 20, 32)
PAPER: Colour = (255, 255, 255)
# Fill and outline of each hat: no pair is near any sky, whichever of the two carries the contrast there.
HATS: dict[str, tuple[Colour, Colour]] = {
    "crown": ((255, 190, 0), INK),
    "fez": ((240, 25, 130), PAPER),
    "cap": ((130, 240, 30), INK),
    "bow": (PAPER, INK),
    "cone": ((20, 100, 255), PAPER),
    "bowler": (INK, PAPER),
}
HAT_WIDTH, HAT_HEIGHT = 0.66, 0.42  # of the body's side
HAT_BASE = {"triangle": 0.8, "star": 0.84, "heart": 0.8, "diamond": 0.84}  # of the side, where not 0.9: low on a tip
EYES = {"triangle": 0.3, "heart": 0.58}  # of the side, where not half of it
OUTLINE_SHADE = 0.5  # a body's outline is its colour, this much of it
STAR = 0.56  # inner radius of a star, of the outer one


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure: x of the body's centre, y of its feet, side of the body's square."""

    shape: str
    colour: str
    hat: str
    x: float
    y: float
    side: float


class Pen:
    """Draws in the units of the 64 x 64 picture onto a larger one, enlarged by `zoom` about `centre`."""

    def __init__(self, image: Image.Image, scale: float, zoom: float = 1.0, centre: tuple[float, float] = (0.0, 0.0)):
        self.draw = ImageDraw.Draw(image)
        self.scale, self.zoom, self.centre = scale, zoom, centre

    def _points(self, points) -> list[tuple[float, float]]:
        (cx, cy), z, s = self.centre, self.zoom, self.scale
        # Pillow names pixels by their centres: half a large pixel is taken off to keep shapes symmetric.
        return [(s * (cx + z * (x - cx)) - 0.5, s * (cy + z * (y - cy)) - 0.5) for x, y in points]

    def polygon(self, points, fill) -> None:
        self.draw.polygon(self._points(points), fill=fill)

    def box(self, x0: Length, y0: Length, x1: Length, y1: Length, fill) -> None:
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def disc(self, x: Length, y: Length, rx: Length, ry: Length, fill) -> None:
        self.draw.ellipse(self._points([(x - rx, y - ry), (x + rx, y + ry)]), fill=fill)

    def dome(self, x0: Length, y0: Length, x1: Length, y1: Length, fill) -> None:
        """The upper half of the ellipse in a box."""
        self.draw.pieslice(self._points([(x0, y0), (x1, y1)]), 180, 360, fill)


def _body(pen: Pen, shape: str, x: float, y: float, side: float, fill) -> None:
    half = side / 2
    if shape == "circle":
        pen.disc(x, y - half, half, half, fill)
    elif shape == "square":
        pen.box(x - 0.94 * half, y - 0.94 * side, x + 0.94 * half, y, fill)
    elif shape == "triangle":
        pen.polygon([(x - 1.04 * half, y), (x + 1.04 * half, y), (x, y - 1.04 * side)], fill)
    elif shape == "diamond":
        pen.polygon([(x - half, y - half), (x, y), (x + half, y - half), (x, y - side)], fill)
    elif shape == "star":
        turns = [(i, math.pi * i / 5) for i in range(10)]
        radius = [half * (STAR if i % 2 else 1.0) for i, _ in turns]
        pen.polygon(
            [(x + r * math.sin(a), y - half - r * math.cos(a)) for (_, a), r in zip(turns, radius, strict=True)], fill
        )
    else:
        for way in (-1, 1):
            pen.disc(x + way * 0.25 * side, y - 0.73 * side, 0.27 * side, 0.27 * side, fill)
        pen.polygon([(x - 0.5 * side, y - 0.64 * side), (x, y), (x + 0.5 * side, y - 0.64 * side)], fill)


def _hat(pen: Pen, hat: str, x: float, y: float, side: float, grow: float, fill) -> None:
    """A hat that stands on height y, `grow` pixels larger on every side."""
    w, h, g = HAT_WIDTH * side / 2, HAT_HEIGHT * side, grow
    if hat == "crown":
        top, dip = y - h - 1.6 * g, y - 0.45 * h - 1.2 * g
        pen.polygon(
            [(x - w - g, y + g), (x - w - g, top), (x - 0.5 * w, dip), (x, top), (x + 0.5 * w, dip), (x + w + g, top),
             (x + w + g, y + g)], fill)  # fmt: skip
    elif hat == "fez":
        pen.polygon([(x - 0.72 * w - g, y + g), (x - 0.5 * w - g, y - 1.1 * h - g), (x + 0.5 * w + g, y - 1.1 * h - g),
                     (x + 0.72 * w + g, y + g)], fill)  # fmt: skip
    elif hat == "cap":
        pen.dome(x - 0.85 * w - g, y - 0.95 * h - g, x + 0.65 * w + g, y + 0.75 * h + g, fill)
        pen.box(x - 0.85 * w - g, y - 0.32 * h - g, x + 1.25 * w + g, y + g, fill)
    elif hat == "bow":
        for way in (-1, 1):
            pen.polygon(
                [
                    (x, y - 0.42 * h),
                    (x + way * (1.05 * w + g), y - h - 1.4 * g),
                    (x + way * (1.05 * w + g), y + 1.4 * g),
                ],
                fill,
            )
        pen.disc(x, y - 0.42 * h, 0.26 * w + g, 0.3 * h + g, fill)
    elif hat == "cone":
        pen.polygon([(x - 0.7 * w - 1.4 * g, y + g), (x, y - 1.2 * h - 1.6 * g), (x + 0.7 * w + 1.4 * g, y + g)], fill)
    else:
        pen.dome(x - 0.7 * w - g, y - 0.95 * h - g, x + 0.7 * w + g, y + 0.6 * h + g, fill)
        pen.box(x - 1.2 * w - g, y - 0.2 * h - g, x + 1.2 * w + g, y + g, fill)


def draw_figure(pen: Pen, figure: Figure, body, shade, hat, outline, ink) -> None:
    """Draws a figure with the given paints (colours, or grey values of a mask)."""
    x, y, side = figure.x, figure.y, figure.side
    edge = 0.06 * side
    _body(pen, figure.shape, x, y, side, shade)
    inner = y - edge
    if figure.shape == "triangle":  # equal borders: the inner triangle shares the centre of the inscribed circle
        _body(pen, "triangle", x, inner, side * 0.82, body)
    else:
        _body(pen, figure.shape, x, inner, side - 2 * edge, body)
    look = y - EYES.get(figure.shape, 0.5) * side
    for way in (-1, 1):
        pen.disc(x + way * 0.13 * side, look, 0.055 * side, 0.085 * side, ink)
    base = y - HAT_BASE.get(figure.shape, 0.9) * side
    _hat(pen, figure.hat, x, base, side, 0.075 * side, outline)
    _hat(pen, figure.hat, x, base, side, 0.0, hat)


def paint_figure(pen: Pen, figure: Figure) -> None:
    """Draws a figure in its own colours."""
    colour, (hat, outline) = COLOURS[figure.colour], HATS[figure.hat]
    shade = tuple(round(OUTLINE_SHADE * c) for c in colour)
    draw_figure(pen, figure, colour, shade, hat, outline, INK)


def figure_cover(figure: Figure, size: int, scale: float, oversampling: int) -> Image.Image:
    """How much of each pixel a figure covers, hat included, as grey values up to 255; scale: pixels to a length of 1."""
    image = Image.new("L", (size * oversampling,) * 2)
    draw_figure(Pen(image, scale * oversampling), figure, 255, 255, 255, 255, 255)
    return image.reduce(oversampling)
