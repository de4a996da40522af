"""Pictures of the toy world, drawn large with Pillow and box-reduced. Lengths are pixels of a 64 x 64 picture."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw

from data_pipeline.toy_cinema import world

Colour = tuple[int, int, int]
Length = float | int

OVERSAMPLING = 4
COLOURS: dict[str, Colour] = {
    "red": (222, 36, 40),
    "yellow": (255, 222, 40),
    "green": (20, 140, 55),
    "blue": (30, 70, 235),
    "purple": (160, 45, 200),
    "cyan": (30, 215, 215),
}
INK: Colour = (28, 20, 32)
PAPER: Colour = (255, 255, 255)
# Fill and outline of each hat: no pair is near any sky, whichever of the two carries the contrast there.
HATS: dict[str, tuple[Colour, Colour]] = {
    "crown": ((255, 190, 0), INK),
    "fez": ((240, 25, 130), PAPER),
    "cap": ((130, 240, 30), INK),
    "bow": (PAPER, INK),
}
HAT_WIDTH, HAT_HEIGHT = 0.66, 0.42  # of the body's side
OUTLINE_SHADE = 0.5  # a body's outline is its colour, this much of it


@dataclasses.dataclass(frozen=True)
class PlaceLook:
    sky: Colour
    ground: Colour
    prop: str


PLACES: dict[str, PlaceLook] = {
    "day": PlaceLook((180, 218, 252), (165, 196, 120), "tree"),
    "night": PlaceLook((26, 28, 66), (226, 233, 246), "house"),
    "sunset": PlaceLook((246, 164, 138), (236, 212, 166), "cactus"),
    "cloudy": PlaceLook((158, 164, 176), (104, 98, 104), "tower"),
}
HORIZON = 43.0
CLOSE_ZOOM, CLOSE_CENTRE = 1.28, (32.0, 46.0)  # a close shot enlarges the place about this point


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure: x of the body's centre, y of its feet, side of the body's square."""

    shape: str
    colour: str
    hat: str
    x: float
    y: float
    side: float


@dataclasses.dataclass(frozen=True)
class SceneSpec:
    """Everything a picture shows. size: the shot size, which enlarges the place."""

    place: str
    size: str
    figures: tuple[Figure, ...] = ()


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


def _draw_place(pen: Pen, kind: str) -> None:
    look, far = PLACES[kind], 2 * world.SIDE
    pen.box(-far, -far, far, far, look.sky)
    pen.box(-far, HORIZON, far, far, look.ground)
    if look.prop == "tree":
        pen.box(48.5, 30, 54, 49, (112, 72, 40))
        pen.disc(51, 21, 10, 12, (96, 128, 84))
    elif look.prop == "house":
        pen.disc(51, 10, 5.5, 5.5, (250, 244, 200))
        pen.box(2, 26, 21, 48, (128, 86, 70))
        pen.polygon([(-1, 27), (24, 27), (11.5, 13)], (92, 96, 140))
        pen.box(8, 33, 15, 40, (250, 214, 130))
    elif look.prop == "cactus":
        pen.disc(15, 30, 9, 9, (255, 232, 196))
        pen.box(-2 * far, HORIZON, far, HORIZON + 9, look.ground)
        cactus = (78, 112, 92)
        pen.disc(51, 16, 3.5, 3.5, cactus)
        pen.box(47.5, 16, 54.5, 50, cactus)
        pen.box(41, 25, 44.5, 34, cactus)
        pen.box(41, 31, 48, 35, cactus)
        pen.box(57.5, 20, 61, 31, cactus)
        pen.box(54, 28, 61, 32, cactus)
    else:
        tower = (76, 62, 80)
        pen.box(5, 14, 19, 48, tower)
        for left in (3, 9.5, 16):
            pen.box(left, 8, left + 5, 16, tower)
        pen.box(3, 13, 21, 18, tower)
        pen.box(10, 24, 14, 32, (222, 196, 140))


def _body(pen: Pen, shape: str, x: float, y: float, side: float, fill) -> None:
    half = side / 2
    if shape == "circle":
        pen.disc(x, y - half, half, half, fill)
    elif shape == "square":
        pen.box(x - 0.94 * half, y - 0.94 * side, x + 0.94 * half, y, fill)
    else:
        pen.polygon([(x - 1.04 * half, y), (x + 1.04 * half, y), (x, y - 1.04 * side)], fill)


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
        pen.draw.pieslice(
            pen._points([(x - 0.85 * w - g, y - 0.95 * h - g), (x + 0.65 * w + g, y + 0.75 * h + g)]), 180, 360, fill
        )
        pen.box(x - 0.85 * w - g, y - 0.32 * h - g, x + 1.25 * w + g, y + g, fill)
    else:
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


def _hat_base(shape: str, y: float, side: float) -> float:
    """Where the lower edge of a hat sits: low enough on a triangle's tip to be worn."""
    return y - {"circle": 0.9, "square": 0.9, "triangle": 0.8}[shape] * side


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
    look = y - (0.3 if figure.shape == "triangle" else 0.5) * side
    for way in (-1, 1):
        pen.disc(x + way * 0.13 * side, look, 0.055 * side, 0.085 * side, ink)
    base = _hat_base(figure.shape, y, side)
    _hat(pen, figure.hat, x, base, side, 0.075 * side, outline)
    _hat(pen, figure.hat, x, base, side, 0.0, hat)


@functools.lru_cache(maxsize=64)
def _background(kind: str, shot_size: str, size: int, oversampling: int) -> Image.Image:
    image = Image.new("RGB", (size * oversampling,) * 2)
    zoom = CLOSE_ZOOM if shot_size == world.CLOSE else 1.0
    _draw_place(Pen(image, size * oversampling / world.SIDE, zoom, CLOSE_CENTRE), kind)
    return image


def _shaded(colour: Colour) -> Colour:
    return tuple(round(OUTLINE_SHADE * c) for c in colour)


def render(spec: SceneSpec, size: int = world.SIDE) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of a scene, RGB."""
    image = _background(spec.place, spec.size, size, OVERSAMPLING).copy()
    pen = Pen(image, size * OVERSAMPLING / world.SIDE)
    for figure in spec.figures:
        colour, (hat, outline) = COLOURS[figure.colour], HATS[figure.hat]
        draw_figure(pen, figure, colour, _shaded(colour), hat, outline, INK)
    return np.asarray(image.reduce(OVERSAMPLING))


def figure_masks(spec: SceneSpec, size: int = world.SIDE) -> Bool[np.ndarray, "figures size size"]:
    """Where each figure, hat included, covers at least half of a pixel."""
    masks = np.zeros((len(spec.figures), size, size), bool)
    for mask, figure in zip(masks, spec.figures, strict=True):
        image = Image.new("L", (size * OVERSAMPLING,) * 2)
        draw_figure(Pen(image, size * OVERSAMPLING / world.SIDE), figure, 255, 255, 255, 255, 255)
        mask[:] = np.asarray(image.reduce(OVERSAMPLING)) >= 128
    return masks


def scene_spec(story: world.ToyStory, shot_index: int, phase: float | int) -> SceneSpec:
    """What a shot shows at a phase, 0 (start frame) to 1 (end frame)."""
    shot = story.shots[shot_index]
    side = world.body_side(shot.size, len(shot.characters))
    figures = tuple(
        Figure(who.shape, who.colour, who.hat, x, y, side)
        for who, (x, y) in zip(
            (story.characters[i] for i in shot.characters), world.positions(shot, phase), strict=True
        )
    )
    return SceneSpec(story.places[shot.place].kind, shot.size, figures)


def render_frame(
    story: world.ToyStory, shot_index: int, phase: float | int, size: int = world.SIDE
) -> UInt8[np.ndarray, "size size 3"]:
    """A frame of a shot, phase 0 (start frame) to 1 (end frame)."""
    return render(scene_spec(story, shot_index, phase), size)


def render_clip(
    story: world.ToyStory, shot_index: int, frames: int = world.FRAMES, size: int = world.SIDE
) -> UInt8[np.ndarray, "frames size size 3"]:
    """All frames of a shot; the first and the last are its pair."""
    return np.stack([render_frame(story, shot_index, i / (frames - 1), size) for i in range(frames)])
