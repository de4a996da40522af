"""Pictures of the toy world, drawn large with Pillow and box-reduced. Lengths are pixels of a 64 x 64 picture."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image

from data_pipeline.toy_cinema import world
from data_pipeline.toy_cinema.figures import Colour, Figure, Pen, figure_cover, paint_figure

OVERSAMPLING = 4


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
class SceneSpec:
    """Everything a picture shows. size: the shot size, which enlarges the place."""

    place: str
    size: str
    figures: tuple[Figure, ...] = ()


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


@functools.lru_cache(maxsize=64)
def _background(kind: str, shot_size: str, size: int, oversampling: int) -> Image.Image:
    image = Image.new("RGB", (size * oversampling,) * 2)
    zoom = CLOSE_ZOOM if shot_size == world.CLOSE else 1.0
    _draw_place(Pen(image, size * oversampling / world.SIDE, zoom, CLOSE_CENTRE), kind)
    return image


def render(spec: SceneSpec, size: int = world.SIDE) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of a scene, RGB."""
    image = _background(spec.place, spec.size, size, OVERSAMPLING).copy()
    pen = Pen(image, size * OVERSAMPLING / world.SIDE)
    for figure in spec.figures:
        paint_figure(pen, figure)
    return np.asarray(image.reduce(OVERSAMPLING))


def figure_masks(spec: SceneSpec, size: int = world.SIDE) -> Bool[np.ndarray, "figures size size"]:
    """Where each figure, hat included, covers at least half of a pixel."""
    masks = np.zeros((len(spec.figures), size, size), bool)
    for mask, figure in zip(masks, spec.figures, strict=True):
        mask[:] = np.asarray(figure_cover(figure, size, size / world.SIDE, OVERSAMPLING)) >= 128
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
