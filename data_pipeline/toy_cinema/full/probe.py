"""Reads pictures of level `full` back by comparing them with exact renders: who, where, how large, which camera move.

The probe is told what every caption tells of the layout (how many figures, about where they are in the picture, the shot
size and the camera move that were asked for), takes the last two only to begin with, and reads everything from the picture.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, UInt8

from data_pipeline.toy_cinema import matching
from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.figures import COLOURS as PAINTS
from data_pipeline.toy_cinema.figures import Figure, figure_cover
from data_pipeline.toy_cinema.full import render, world
from data_pipeline.toy_cinema.full.world import FullPlace, FullShot, View
from data_pipeline.toy_cinema.matching import Looks, Weights, least
from data_pipeline.toy_cinema.render import OVERSAMPLING
from stage_jax.story.pictures import fit_picture

SEARCH = {1: 16, 2: 12}  # pixels around the expected position, by the number of figures
FINE = 3  # half pixels around the coarse position
CLIP = 50.0  # error of one colour value beyond which a pixel of the place counts as something else
MARGIN = 2  # pixels around a figure that say nothing of the place
ROUNDS = 3  # looks at most, where two readings lean on each other
COLOURS = np.array([PAINTS[c] for c in world.COLOURS], np.float32)

Picture = Float[np.ndarray, "64 64 3"]
Free = Bool[np.ndarray, "64 64"]


@dataclasses.dataclass(frozen=True)
class FigureReading:
    """What stands where a figure should. x, y, side: as of `Figure`, in the picture; size: the shot size it is drawn in."""

    shape: str
    colour: str
    hat: str
    size: str
    x: float
    y: float
    side: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """One frame. camera: the move that its view is the end of, `static` in a start frame. strange: share of the pixels that
    are more than CLIP away from the exact render of what was read."""

    place: FullPlace
    camera: str
    figures: tuple[FigureReading, ...]
    strange: float


@functools.lru_cache(maxsize=4096)
def _background(sky: str, ground: str, prop: str, view: View) -> Picture:
    return render.render(FullPlace("", sky, ground, prop), view).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _coarse(side: float) -> tuple[Looks, Weights]:
    looks = matching.draw_looks(world.SHAPES, world.HATS, side, 0.5, 0.0, 0.0)
    return looks, matching.hypothesis_weights(looks, COLOURS)


@functools.lru_cache(maxsize=160)  # of about 1.5 MB
def _in_colour(side: float, phase_x: float, phase_y: float, colour: int) -> tuple[Looks, Weights]:
    looks = matching.draw_looks(world.SHAPES, world.HATS, side, 1.0, phase_x, phase_y)
    return looks, matching.hypothesis_weights(looks, COLOURS[colour : colour + 1])


def read_frame(
    picture: UInt8[np.ndarray, "h w 3"], shot: FullShot, phase: float | int, cameras: tuple[str, ...] = world.CAMERAS
) -> Reading:
    """Reads the frame of a shot at a phase. cameras: the moves among which the view is looked for, at this phase."""
    exact = fit_picture(picture, lengths.SIDE).astype(np.float32)
    expected = world.shown_figures(shot, phase)
    if phase == 0:
        cameras = (world.STATIC,)
    seen: tuple[FullPlace, str] | None = None
    figures: tuple[FigureReading, ...] = ()
    free = np.ones((lengths.SIDE, lengths.SIDE), bool)  # where the place is looked at
    for _ in range(ROUNDS):
        # What is read of the figures says which pixels show the place, and the place says what is behind the figures.
        place, camera = _read_place(exact, free, shot.size, cameras, phase)
        if (place, camera) == seen:
            break
        seen = place, camera
        view = world.view(shot.size, camera, phase)
        background = _background(place.sky, place.ground, place.prop, view)
        growth = view.zoom / world.ZOOMS[shot.size]
        figures = tuple(_read_figure(exact, background, growth, x, y, SEARCH[len(expected)]) for x, y, _ in expected)
        drawn = tuple(Figure(f.shape, f.colour, f.hat, f.x, f.y, f.side) for f in figures)
        free = ~_near(drawn)
    strange = float((np.abs(exact - render.render(place, view, drawn)).max(-1) > CLIP).mean())
    return Reading(place, camera, figures, strange)


def _near(figures: tuple[Figure, ...]) -> Free:
    """Pixels that figures cover or come close to."""
    cover = np.zeros((lengths.SIDE, lengths.SIDE), bool)
    for figure in figures:
        cover |= np.asarray(figure_cover(figure, lengths.SIDE, 1.0, OVERSAMPLING)) > 0
    padded = np.pad(cover, MARGIN)
    steps = range(2 * MARGIN + 1)
    return np.any([padded[y : y + lengths.SIDE, x : x + lengths.SIDE] for y in steps for x in steps], axis=0)


def _read_place(
    picture: Picture, free: Free, size: str, cameras: tuple[str, ...], phase: float | int
) -> tuple[FullPlace, str]:
    """The place and the camera move that are nearest outside of the figures.

    Sky and ground are large, and are told by themselves; then prop and move together; then sky and ground under that move.
    What the figures left elsewhere counts no more than CLIP.
    """
    shown = picture[free]

    def error(sky: str, ground: str, prop: str, camera: str) -> float:
        background = _background(sky, ground, prop, world.view(size, camera, phase))
        return float((np.minimum(np.abs(background[free] - shown), CLIP) ** 2).sum())

    def best(skies, grounds, props, moves) -> tuple[str, str, str, str]:
        return min(((s, g, p, m) for s in skies for g in grounds for p in props for m in moves), key=lambda h: error(*h))

    sky, ground = world.SKIES[0], world.GROUNDS[0]
    move, prop = world.STATIC, world.PROPS[0]
    for look in range(ROUNDS):
        before = sky, ground
        sky = best(world.SKIES, (ground,), (prop,), (move,))[0]
        ground = best((sky,), world.GROUNDS, (prop,), (move,))[1]
        if look and (sky, ground) == before:
            break
        _, _, prop, move = best((sky,), (ground,), world.PROPS, cameras)
    return FullPlace("", sky, ground, prop), move


def _read_figure(picture: Picture, background: Picture, growth: float, x: float, y: float, search: int) -> FigureReading:
    """The figure within `search` pixels of x, y. growth: how much larger the camera move has made it than its shot size is."""
    halves = matching.features(matching.halved(picture), matching.halved(background))
    steps = np.arange(-search // 2, search // 2 + 1)
    xs, ys = round(x / 2) + steps, round(y / 2) + steps
    found = []
    for size in world.SIZES:
        side = world.SIDE * world.ZOOMS[size] * growth
        errors = matching.errors(halves, *_coarse(side), xs, ys)
        row, column, _ = least(errors)
        found.append((float(errors.min()), size, side, 2 * int(xs[column]), 2 * int(ys[row])))
    _, size, side, centre_x, centre_y = min(found)
    return _fine(picture, matching.features(picture, background), size, side, centre_x, centre_y)


def _fine(
    picture: Picture, features: np.ndarray, size: str, side: float, centre_x: int, centre_y: int
) -> FigureReading:
    """The best figure of a side within FINE half pixels."""
    halves = np.arange(-FINE, FINE + 1)

    def errors(colour: int) -> np.ndarray:
        fine = np.empty((len(halves), len(halves), len(world.SHAPES) * len(world.HATS)), np.float32)
        for phase_y in (0, 1):
            for phase_x in (0, 1):
                at_y, at_x = halves % 2 == phase_y, halves % 2 == phase_x
                xs, ys = centre_x + halves[at_x] // 2, centre_y + halves[at_y] // 2
                hypotheses = _in_colour(side, phase_x / 2, phase_y / 2, colour)
                fine[np.ix_(at_y, at_x)] = matching.errors(features, *hypotheses, xs, ys)
        return fine.reshape(len(halves), len(halves), len(world.SHAPES), len(world.HATS))

    colour = _body_colour(picture, side, float(centre_x), float(centre_y), range(len(world.SHAPES)))
    for _ in range(ROUNDS):  # again if the body that is found has another colour than all shapes had together
        row, column, shape, hat = least(errors(colour))
        x, y = centre_x + (column - FINE) / 2, centre_y + (row - FINE) / 2
        before, colour = colour, _body_colour(picture, side, x, y, (shape,))
        if colour == before:
            break
    return FigureReading(world.SHAPES[shape], world.COLOURS[colour], world.HATS[hat], size, x, y, side)


def _body_colour(picture: Picture, side: float, x: float, y: float, shapes) -> int:
    """The body colour that is nearest to the median of the pixels inside of the bodies of these shapes."""
    looks = matching.draw_looks(world.SHAPES, world.HATS, side, 1.0, x % 1, y % 1)
    inside = np.concatenate([matching.body_pixels(picture, looks, shape, x, y) for shape in shapes])
    return int(((np.median(inside, axis=0) - COLOURS) ** 2).sum(-1).argmin())


def read_pair(pair: UInt8[np.ndarray, "2 h w 3"], shot: FullShot) -> tuple[Reading, Reading]:
    """The start and the end frame of a shot."""
    return read_frame(pair[0], shot, 0.0), read_frame(pair[1], shot, 1.0)


def stage_spots(reading: Reading, size: str, phase: float | int) -> tuple[tuple[float, float], ...]:
    """Where the figures of a frame stand on the stage, whatever the camera did."""
    view = world.view(size, reading.camera, phase)
    return tuple(view.on_stage(f.x, f.y) for f in reading.figures)


def read_actions(start: Reading, end: Reading, size: str) -> tuple[str, ...]:
    """What each figure did: the action that is nearest to its way over the stage."""
    zoom = world.ZOOMS[size]
    # Typical travels in pixels of the start frame: 13 of a walk, 8.5 of a leap.
    ways = {action: (13 * x, 8.5 * y) for action, (x, y) in world.WAYS.items()}
    nearest = []
    for (x0, y0), (x1, y1) in zip(stage_spots(start, size, 0.0), stage_spots(end, size, 1.0), strict=True):
        moved = np.array([(x1 - x0) * zoom, (y1 - y0) * zoom])
        nearest.append(list(ways)[int(((np.array(list(ways.values())) - moved) ** 2).sum(-1).argmin())])
    return tuple(nearest)


def cut_is_kept(before: str, now: str) -> bool:
    """Whether an action goes on with the one before the cut, both as they were read from pictures."""
    return world.GOES_ON.get(before) == now
