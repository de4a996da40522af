"""The squared error of every hypothesis about a figure at every position, from one matrix product.

Every hypothesis (shape, hat, colour, position) is a picture that is known exactly: with coverage a, fixed paint c and body
paint b times the colour, it reads  background * (1 - a) + b * colour + c.  The squared error of all hypotheses at all
positions is therefore linear in a few products of the picture and the background.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image

from data_pipeline.toy_cinema import render
from data_pipeline.toy_cinema.figures import HATS, INK, OUTLINE_SHADE, Figure, Pen, draw_figure

Weights = tuple[Float[np.ndarray, "features hypotheses"], Float[np.ndarray, " hypotheses"]]
Picture = Float[np.ndarray, "h w c"]


@dataclasses.dataclass(frozen=True, eq=False)
class Looks:
    """Drawings of figures of one side at one subpixel phase, each with its origin (x, y) at `origin` of the window.

    cover, body, paint: of each look (shape, hat; last fastest), as the module says. inside: pixels fully inside each
    shape's body.
    """

    origin: tuple[int, int]
    cover: Float[np.ndarray, "looks h w 1"]
    body: Float[np.ndarray, "looks h w 1"]
    paint: Float[np.ndarray, "looks h w 3"]
    inside: Bool[np.ndarray, "shapes h w"]


@functools.lru_cache(maxsize=256)
def draw_looks(
    shapes: tuple[str, ...], hats: tuple[str, ...], side: float, scale: float, phase_x: float, phase_y: float
) -> Looks:
    """All figures of a side (pixels of the 64 x 64 picture) at `scale` pixels to each; phases are parts of a pixel."""
    left, up = math.ceil((0.56 * side + 2) * scale), math.ceil((1.5 * side + 2) * scale)
    height, width = up + 3, 2 * left + 1
    over = render.OVERSAMPLING

    def draw(mode: str, figure: Figure, *paints) -> np.ndarray:
        image = Image.new(mode, (width * over, height * over))
        draw_figure(Pen(image, scale * over), figure, *paints)
        return np.asarray(image.reduce(over), np.float32)

    covers, bodies, paints, insides = [], [], [], []
    for shape in shapes:
        for hat in hats:
            figure = Figure(shape, "", hat, (left + phase_x) / scale, (up + phase_y) / scale, side)
            covers.append(draw("L", figure, 255, 255, 255, 255, 255)[..., None] / 255)
            bodies.append(draw("L", figure, 255, round(255 * OUTLINE_SHADE), 0, 0, 0)[..., None] / 255)
            paints.append(draw("RGB", figure, (0, 0, 0), (0, 0, 0), *HATS[hat], INK))
        insides.append(draw("L", figure, 255, 0, 0, 0, 0) > 250)
    return Looks((left, up), np.stack(covers), np.stack(bodies), np.stack(paints), np.stack(insides))


def hypothesis_weights(looks: Looks, colours: Float[np.ndarray, "colours 3"]) -> Weights:
    """Of each look in each colour (colour fastest): its squared error is features @ weights + constants."""
    cover, totals = looks.cover[:, None], looks.body[:, None] * colours[:, None, None] + looks.paint[:, None]
    parts = np.broadcast_arrays(2 * cover, cover**2)
    parts = [np.broadcast_to(part, (*totals.shape[:-1], 1)) for part in parts]
    weights = np.concatenate([*parts, -2 * totals, -2 * cover * totals], -1)
    count = totals.shape[0] * totals.shape[1]
    return weights.reshape(count, -1).T, (totals**2).reshape(count, -1).sum(-1)


def features(picture: Picture, background: Picture) -> Float[np.ndarray, "h w 8"]:
    rest = picture - background
    return np.concatenate(
        [(rest * background).sum(-1, keepdims=True), (background**2).sum(-1, keepdims=True), rest, background], -1
    )


def errors(
    found: Float[np.ndarray, "h w 8"],
    looks: Looks,
    weights: Weights,
    xs: Int[np.ndarray, " columns"],
    ys: Int[np.ndarray, " rows"],
) -> Float[np.ndarray, "rows columns hypotheses"]:
    """Squared error above that of the bare background, with origins at the integers xs, ys."""
    (left, up), (height, width) = looks.origin, looks.cover.shape[1:3]
    # Outside of the picture all features are 0, so that a figure that leaves it is charged with what is cut off.
    pad = max(height, width) + max(0, *(-xs), *(-ys), *(xs - found.shape[1]), *(ys - found.shape[0]))
    padded = np.pad(found, ((pad, pad), (pad, pad), (0, 0)))
    top, first = pad - up, pad - left
    patches = np.stack(
        [padded[top + y : top + y + height, first + x : first + x + width].ravel() for y in ys for x in xs]
    )
    return (patches @ weights[0] + weights[1]).reshape(len(ys), len(xs), -1)


def halved(array: Picture) -> Float[np.ndarray, "half_h half_w c"]:
    """Means of 2 x 2 pixels."""
    h, w, c = array.shape
    return array.reshape(h // 2, 2, w // 2, 2, c).mean((1, 3))


def least(array: np.ndarray) -> tuple[int, ...]:
    """Indices of the least value."""
    return tuple(int(i) for i in np.unravel_index(array.argmin(), array.shape))


def body_pixels(
    picture: Float[np.ndarray, "h w 3"], looks: Looks, shape: int, x: float, y: float
) -> Float[np.ndarray, "pixels 3"]:
    """Colours of the picture well inside the body of a shape that stands at x, y; all of them if none is in the picture.

    looks: those of the figure's side at the phases x % 1, y % 1.
    """
    rows, columns = np.nonzero(looks.inside[shape])
    rows, columns = rows + int(y // 1) - looks.origin[1], columns + int(x // 1) - looks.origin[0]
    inside = (rows >= 0) & (rows < picture.shape[0]) & (columns >= 0) & (columns < picture.shape[1])
    return picture[rows[inside], columns[inside]] if inside.any() else picture.reshape(-1, 3)
