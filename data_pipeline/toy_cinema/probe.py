"""Reads identity, place and position back from pictures of level `easy`, by comparing them with exact renders."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Float, UInt8

from data_pipeline.toy_cinema import matching, render, world
from data_pipeline.toy_cinema.figures import COLOURS as PAINTS
from data_pipeline.toy_cinema.figures import Figure
from data_pipeline.toy_cinema.matching import Looks, Weights, least
from stage_jax.story.pictures import fit_picture

LEVEL = world.EASY
SEARCH = 12  # pixels around the expected position
FINE = 3  # half pixels around the coarse position
CLIP = 60.0  # error of one colour value beyond which a pixel of the place counts as something else
MARGIN = 3  # pixels around a figure that say nothing of the place
COLOURS = np.array([PAINTS[c] for c in LEVEL.colours], np.float32)


@dataclasses.dataclass(frozen=True)
class FigureReading:
    """What a picture shows where a named figure should be; x, y as in `figures.Figure`."""

    name: str
    shape: str
    colour: str
    hat: str
    x: float
    y: float


@dataclasses.dataclass(frozen=True)
class Reading:
    place: str
    figures: tuple[FigureReading, ...]


@functools.lru_cache(maxsize=32)
def _templates(side: float, scale: float, phase_x: float, phase_y: float) -> tuple[Looks, Weights]:
    looks = matching.draw_looks(LEVEL.shapes, LEVEL.hats, side, scale, phase_x, phase_y)
    return looks, matching.hypothesis_weights(looks, COLOURS)


@functools.cache
def _backgrounds(size: str) -> Float[np.ndarray, "places 64 64 3"]:
    return np.stack([render.render(render.SceneSpec(p, size)) for p in LEVEL.places]).astype(np.float32)


def _read_figure(
    picture: np.ndarray, background: np.ndarray, name: str, side: float, x: float, y: float
) -> FigureReading:
    coarse_features = matching.features(matching.halved(picture), matching.halved(background))
    coarse = _templates(side, 0.5, 0.0, 0.0)
    steps = np.arange(-SEARCH // 2, SEARCH // 2 + 1)
    xs, ys = round(x / 2) + steps, round(y / 2) + steps
    row, column, _ = least(matching.errors(coarse_features, *coarse, xs, ys))
    centre_x, centre_y = 2 * int(xs[column]), 2 * int(ys[row])

    features = matching.features(picture, background)
    halves = np.arange(-FINE, FINE + 1)
    fine = np.empty((len(halves), len(halves), len(coarse[1][1])), np.float32)
    for phase_y in (0, 1):
        for phase_x in (0, 1):
            at_y, at_x = halves % 2 == phase_y, halves % 2 == phase_x
            templates = _templates(side, 1.0, phase_x / 2, phase_y / 2)
            fine[np.ix_(at_y, at_x)] = matching.errors(
                features, *templates, centre_x + halves[at_x] // 2, centre_y + halves[at_y] // 2
            )
    fine = fine.reshape(len(halves), len(halves), len(LEVEL.shapes), len(LEVEL.hats), len(LEVEL.colours))
    row, column, shape, _, _ = least(fine)
    x, y = centre_x + (column - FINE) / 2, centre_y + (row - FINE) / 2
    body = matching.body_pixels(picture, _templates(side, 1.0, x % 1, y % 1)[0], shape, x, y)
    colour = int(((np.median(body, axis=0) - COLOURS) ** 2).sum(-1).argmin())
    row, column, shape, hat = least(fine[..., colour])
    return FigureReading(
        name,
        LEVEL.shapes[shape],
        LEVEL.colours[colour],
        LEVEL.hats[hat],
        centre_x + (column - FINE) / 2,
        centre_y + (row - FINE) / 2,
    )


def _read_place(picture: np.ndarray, size: str, figures: tuple[Figure, ...]) -> str:
    """The place that is nearest outside of the figures. What the figures left elsewhere counts no more than CLIP."""
    free = ~render.figure_masks(render.SceneSpec(LEVEL.places[0], size, figures)).any(0)
    near = np.pad(~free, MARGIN)
    for dy in range(2 * MARGIN + 1):
        for dx in range(2 * MARGIN + 1):
            free &= ~near[dy : dy + world.SIDE, dx : dx + world.SIDE]
    difference = np.minimum(np.abs(_backgrounds(size) - picture), CLIP)
    return LEVEL.places[int((difference**2).sum(-1)[:, free].sum(-1).argmin())]


def phase_of(which: str | float | int) -> float | int:
    """The phase of "start", "end" or a number between 0 and 1."""
    return {"start": 0.0, "end": 1.0}[which] if isinstance(which, str) else which


def read_frame(
    picture: UInt8[np.ndarray, "h w 3"], story: world.ToyStory, shot_index: int, which: str | float | int = "start"
) -> Reading:
    """Reads a frame of a shot. The story says only how many figures there are, how large, and about where.

    which: "start", "end" or a phase between 0 and 1. Positions are searched SEARCH pixels around the expected ones.
    """
    shot = story.shots[shot_index]
    exact = fit_picture(picture, world.SIDE).astype(np.float32)
    expected = render.scene_spec(story, shot_index, phase_of(which)).figures
    place = _read_place(exact, shot.size, expected)
    names = [story.characters[i].name for i in shot.characters]
    figures: tuple[FigureReading, ...] = ()
    for _ in range(2):  # a second look if the place reads differently once the figures are found
        background = _backgrounds(shot.size)[LEVEL.places.index(place)]
        figures = tuple(
            _read_figure(exact, background, name, f.side, f.x, f.y) for name, f in zip(names, expected, strict=True)
        )
        found = tuple(
            Figure(r.shape, r.colour, r.hat, r.x, r.y, f.side) for r, f in zip(figures, expected, strict=True)
        )
        again = _read_place(exact, shot.size, found)
        if again == place:
            break
        place = again
    return Reading(place, figures)


def read_story(pictures: UInt8[np.ndarray, "shots 2 h w 3"], story: world.ToyStory) -> list[tuple[Reading, Reading]]:
    """Reads the start and end frame of every shot."""
    return [
        (read_frame(start, story, i, "start"), read_frame(end, story, i, "end"))
        for i, (start, end) in enumerate(pictures)
    ]


def read_action(start: Reading, end: Reading) -> str:
    """The action that is nearest to how the first figure moved."""
    a, b = start.figures[0], end.figures[0]
    moves = {world.WALK_LEFT: (-16, 0), world.WALK_RIGHT: (16, 0), world.JUMP: (0, -11)}
    return min(moves, key=lambda m: (b.x - a.x - moves[m][0]) ** 2 + (b.y - a.y - moves[m][1]) ** 2)
