"""Pictures of level `full`, exact at any size; masks of the roles, and reference pictures of the characters."""

from __future__ import annotations

import functools

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.figures import Figure, Pen, figure_cover, paint_figure
from data_pipeline.toy_cinema.full import world
from data_pipeline.toy_cinema.full.stage import StagePen, draw_stage
from data_pipeline.toy_cinema.full.world import FullPlace, FullShot, FullStory, ToyCharacter, View
from data_pipeline.toy_cinema.render import OVERSAMPLING

REFERENCE_SIDE, REFERENCE_FEET = 36.0, 60.0
REFERENCE_GREY = (128, 128, 128)


@functools.lru_cache(maxsize=512)
def _background(place: tuple[str, str, str], view: View, size: int) -> Image.Image:
    image = Image.new("RGB", (size * OVERSAMPLING,) * 2)
    draw_stage(StagePen(image, size * OVERSAMPLING / lengths.SIDE, view), FullPlace("", *place))
    return image


def render(
    place: FullPlace, view: View, figures: tuple[Figure, ...] = (), size: int = lengths.SIDE
) -> UInt8[np.ndarray, "size size 3"]:
    """The picture of a place with figures (in pixels of a 64 x 64 picture) in front of it, RGB."""
    image = _background((place.sky, place.ground, place.prop), view, size).copy()
    pen = Pen(image, size * OVERSAMPLING / lengths.SIDE)
    for figure in figures:
        paint_figure(pen, figure)
    return np.asarray(image.reduce(OVERSAMPLING))


def shot_figures(shot: FullShot, cast: tuple[ToyCharacter, ...], phase: float | int) -> tuple[Figure, ...]:
    """The figures of a shot at a phase, 0 (start frame) to 1 (end frame)."""
    return tuple(
        Figure(cast[i].shape, cast[i].colour, cast[i].hat, *spot)
        for i, spot in zip(shot.characters, world.shown_figures(shot, phase), strict=True)
    )


def render_shot(
    story: FullStory, shot: FullShot, phase: float | int, size: int = lengths.SIDE
) -> UInt8[np.ndarray, "size size 3"]:
    """A frame of a shot, which need not be one of the story's own."""
    view = world.view(shot.size, shot.camera, phase)
    return render(story.places[shot.place], view, shot_figures(shot, story.characters, phase), size)


def render_pair(story: FullStory, shot: FullShot, size: int = lengths.SIDE) -> UInt8[np.ndarray, "2 size size 3"]:
    """The start and the end frame."""
    return np.stack([render_shot(story, shot, phase, size) for phase in (0.0, 1.0)])


def render_clip(
    story: FullStory, shot_index: int, frames: int = lengths.FRAMES, size: int = lengths.SIDE
) -> UInt8[np.ndarray, "frames size size 3"]:
    """All frames of a shot; the first and the last are its pair."""
    return np.stack([render_shot(story, story.shots[shot_index], i / (frames - 1), size) for i in range(frames)])


def role_mask(
    story: FullStory, shot_index: int, phase: float | int, size: int = lengths.SIDE
) -> UInt8[np.ndarray, "size size"]:
    """1 + the index of the character that covers at least half of a pixel, hat included; 0 where none does."""
    shot, mask = story.shots[shot_index], np.zeros((size, size), np.uint8)
    for i, figure in zip(shot.characters, shot_figures(shot, story.characters, phase), strict=True):
        mask[np.asarray(figure_cover(figure, size, size / lengths.SIDE, OVERSAMPLING)) >= 128] = 1 + i
    return mask


def reference(character: ToyCharacter, size: int = lengths.SIDE) -> UInt8[np.ndarray, "size size 3"]:
    """The character alone, large, before plain grey."""
    image = Image.new("RGB", (size * OVERSAMPLING,) * 2, REFERENCE_GREY)
    figure = Figure(character.shape, character.colour, character.hat, lengths.SIDE / 2, REFERENCE_FEET, REFERENCE_SIDE)
    paint_figure(Pen(image, size * OVERSAMPLING / lengths.SIDE), figure)
    return np.asarray(image.reduce(OVERSAMPLING))
