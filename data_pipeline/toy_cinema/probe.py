"""Reads identity, place and position back from pictures of the toy world, by comparing them with exact renders.

Every hypothesis about a figure (shape, hat, colour, position) is a picture that is known exactly: with coverage a,
fixed paint c and body paint b times the colour, it reads  background * (1 - a) + b * colour + c.  The squared error of
all hypotheses at all positions is therefore linear in a few products of the picture and the background, and one matrix
product gives all of them.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from data_pipeline.toy_cinema import render, world
from stage_jax.story.pictures import fit_picture

LEVEL = world.EASY
SEARCH = 12  # pixels around the expected position
FINE = 3  # half pixels around the coarse position
CLIP = 60.0  # error of one colour value beyond which a pixel of the place counts as something else
MARGIN = 3  # pixels around a figure that say nothing of the place
COLOURS = np.array([render.COLOURS[c] for c in LEVEL.colours], np.float32)


@dataclasses.dataclass(frozen=True)
class FigureReading:
    """What a picture shows where a named figure should be; x, y as in `render.Figure`."""

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


@dataclasses.dataclass(frozen=True)
class Templates:
    """All hypotheses about a figure of one side at one subpixel phase, its origin (x, y) at `origin` of the window.

    weights, constants: the squared error of each hypothesis (shape, hat, colour; last fastest) is
    features @ weights + constants. body: pixels fully inside each shape's body.
    """

    origin: tuple[int, int]
    window: tuple[int, int]
    weights: Float[np.ndarray, "features hypotheses"]
    constants: Float[np.ndarray, " hypotheses"]
    body: np.ndarray


@functools.lru_cache(maxsize=32)
def _templates(side: float, scale: float, phase_x: float, phase_y: float) -> Templates:
    left, up = math.ceil((0.56 * side + 2) * scale), math.ceil((1.5 * side + 2) * scale)
    height, width = up + 3, 2 * left + 1
    over = render.OVERSAMPLING

    def draw(mode: str, figure: render.Figure, *paints) -> np.ndarray:
        image = Image.new(mode, (width * over, height * over))
        render.draw_figure(render.Pen(image, scale * over), figure, *paints)
        return np.asarray(image.reduce(over), np.float32)

    def weight(value: float) -> int:
        return round(255 * value)

    weights, constants, bodies = [], [], []
    for shape in LEVEL.shapes:
        for hat in LEVEL.hats:
            figure = render.Figure(shape, "", hat, (left + phase_x) / scale, (up + phase_y) / scale, side)
            fill, outline = render.HATS[hat]
            cover = draw("L", figure, 255, 255, 255, 255, 255)[..., None] / 255
            body = draw("L", figure, 255, weight(render.OUTLINE_SHADE), 0, 0, 0)[..., None] / 255
            paint = draw("RGB", figure, (0, 0, 0), (0, 0, 0), fill, outline, render.INK)
            for colour in COLOURS:
                total = body * colour + paint
                weights.append(np.concatenate([2 * cover, cover**2, -2 * total, -2 * cover * total], -1).ravel())
                constants.append((total**2).sum())
        full = draw("L", figure, 255, 0, 0, 0, 0)
        bodies.append(full > 250)
    return Templates(
        (left, up), (height, width), np.stack(weights, 1), np.array(constants, np.float32), np.stack(bodies)
    )


def _features(picture: np.ndarray, background: np.ndarray) -> Float[np.ndarray, "h w 8"]:
    rest = picture - background
    return np.concatenate(
        [(rest * background).sum(-1, keepdims=True), (background**2).sum(-1, keepdims=True), rest, background], -1
    )


def _errors(features: np.ndarray, templates: Templates, xs: np.ndarray, ys: np.ndarray) -> np.ndarray:
    """Squared error above that of the bare background, [len(ys), len(xs), hypotheses], origins at integer xs, ys."""
    (left, up), (height, width) = templates.origin, templates.window
    pad = max(height, width) + SEARCH
    # Outside of the picture all features are 0, so that a figure that leaves it is charged with what is cut off.
    padded = np.pad(features, ((pad, pad), (pad, pad), (0, 0)))
    top, first = pad - up, pad - left
    patches = np.stack(
        [padded[top + y : top + y + height, first + x : first + x + width].ravel() for y in ys for x in xs]
    )
    return (patches @ templates.weights + templates.constants).reshape(len(ys), len(xs), -1)


def _halved(array: np.ndarray) -> np.ndarray:
    h, w, c = array.shape
    return array.reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))


@functools.cache
def _backgrounds(size: str) -> Float[np.ndarray, "places 64 64 3"]:
    return np.stack([render.render(render.SceneSpec(p, size)) for p in LEVEL.places]).astype(np.float32)


def _least(array: np.ndarray) -> tuple[int, ...]:
    """Indices of the least value."""
    return tuple(int(i) for i in np.unravel_index(array.argmin(), array.shape))


def _read_figure(
    picture: np.ndarray, background: np.ndarray, name: str, side: float, x: float, y: float
) -> FigureReading:
    coarse_features = _features(_halved(picture), _halved(background))
    coarse = _templates(side, 0.5, 0.0, 0.0)
    steps = np.arange(-SEARCH // 2, SEARCH // 2 + 1)
    xs, ys = round(x / 2) + steps, round(y / 2) + steps
    errors = _errors(coarse_features, coarse, xs, ys)
    row, column, _ = _least(errors)
    centre_x, centre_y = 2 * int(xs[column]), 2 * int(ys[row])

    features = _features(picture, background)
    halves = np.arange(-FINE, FINE + 1)
    fine = np.empty((len(halves), len(halves), len(coarse.constants)), np.float32)
    for phase_y in (0, 1):
        for phase_x in (0, 1):
            at_y, at_x = halves % 2 == phase_y, halves % 2 == phase_x
            templates = _templates(side, 1.0, phase_x / 2, phase_y / 2)
            fine[np.ix_(at_y, at_x)] = _errors(
                features, templates, centre_x + halves[at_x] // 2, centre_y + halves[at_y] // 2
            )
    fine = fine.reshape(len(halves), len(halves), len(LEVEL.shapes), len(LEVEL.hats), len(LEVEL.colours))
    row, column, shape, _, _ = _least(fine)
    body = _body_pixels(picture, side, centre_x + (column - FINE) / 2, centre_y + (row - FINE) / 2, shape)
    colour = int(((np.median(body, axis=0) - COLOURS) ** 2).sum(-1).argmin())
    row, column, shape, hat = _least(fine[..., colour])
    return FigureReading(
        name,
        LEVEL.shapes[shape],
        LEVEL.colours[colour],
        LEVEL.hats[hat],
        centre_x + (column - FINE) / 2,
        centre_y + (row - FINE) / 2,
    )


def _body_pixels(picture: np.ndarray, side: float, x: float, y: float, shape: int) -> Float[np.ndarray, "pixels 3"]:
    """Colours of the picture well inside the body of a shape that stands at x, y."""
    templates = _templates(side, 1.0, x % 1, y % 1)
    rows, columns = np.nonzero(templates.body[shape])
    rows, columns = rows + int(y // 1) - templates.origin[1], columns + int(x // 1) - templates.origin[0]
    inside = (rows >= 0) & (rows < world.SIDE) & (columns >= 0) & (columns < world.SIDE)
    return picture[rows[inside], columns[inside]] if inside.any() else picture.reshape(-1, 3)


def _read_place(picture: np.ndarray, size: str, figures: tuple[render.Figure, ...]) -> str:
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
            render.Figure(r.shape, r.colour, r.hat, r.x, r.y, f.side) for r, f in zip(figures, expected, strict=True)
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
