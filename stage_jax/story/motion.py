"""What moves between the two frames of a pair: the camera, what is in front of it, and the light.

Blocks of the start frame are looked for in the end frame. The motion that most of them share, a shift and a zoom, is the
camera's; the others, seen from the camera, are the subject's. Flat blocks say nothing and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

SIDE, BLOCK, STEP, REACH = 64, 8, 4, 24  # pixels: of the longer side, of a block, between blocks, of the longest motion
FLAT = 20.0  # variance of a block in grey values; below it, it has nothing to be found by
FAR = 3.0  # grey values squared that a pixel of motion has to save: of equal matches the nearest one counts
FEWEST = 3  # blocks that move alike and are a subject
LOST = 0.3  # of a block's variance: a match that differs by more is none
RIM, RIM_COUNTS = 0.7, 4.0  # how far out the rim begins, of the way from the centre; what a block there counts
NEAR = 1.5  # pixels between motions that count as one
SIMPLER = 0.9  # what a count is worth for each of a shift and a zoom that it takes
ZOOMS = (1.0, 0.95, 1.05, 0.9, 1.1, 0.85, 1.18, 0.8, 1.25, 0.7, 1.4)


@dataclass(frozen=True)
class Motion:
    """camera: how far the picture shifts, in widths to the right and heights down; the camera itself turns the other way. zoom:
    how much larger the end frame shows things. subject: as camera, of what moves by itself; (0, 0) if nothing does. light: mean
    grey of the end frame less the start's. told: the share of blocks whose motion is the camera's or the subject's."""

    camera: tuple[float, float]
    zoom: float
    subject: tuple[float, float]
    light: float
    told: float


def measure(start: UInt8[np.ndarray, "H W 3"], end: UInt8[np.ndarray, "H W 3"]) -> Motion:
    """The motion of a pair of frames of one size."""
    grey = [_grey(picture) for picture in (start, end)]
    height, width = grey[0].shape
    centres, moves, found, textured = _blocks(*grey)
    light = float(grey[1].mean() - grey[0].mean())
    if not found.any():
        return Motion((0.0, 0.0), 1.0, (0.0, 0.0), light, 1.0 if not textured.any() else 0.0)
    size = np.array([width, height])
    places, moves = centres[found] - size / 2, moves[found]
    shift, zoom, still = _camera(places, moves)
    own = moves - shift - (zoom - 1) * places
    # Where the camera takes a block out of the picture, what was found in its stead is something else.
    inside = (np.abs(zoom * places + shift) <= (size - BLOCK) / 2).all(1)
    moved, members = _shared(own[~still & inside])
    (x, y), (along, down) = shift / size, moved / size
    told = float((still.sum() + members) / textured.sum())
    return Motion((float(x), float(y)), zoom, (float(along), float(down)), light, told)


def _grey(picture: UInt8[np.ndarray, "H W 3"]) -> Float[np.ndarray, "h w"]:
    height, width = picture.shape[:2]
    factor = SIDE / max(height, width)
    size = (max(2 * BLOCK, round(width * factor)), max(2 * BLOCK, round(height * factor)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX), np.float64).mean(-1)


def _blocks(
    start: Float[np.ndarray, "h w"], end: Float[np.ndarray, "h w"]
) -> tuple[Float[np.ndarray, "n 2"], Float[np.ndarray, "n 2"], Bool[np.ndarray, " n"], Bool[np.ndarray, " n"]]:
    """Centres (x, y) of the start's blocks, the motion to the best match of each in the end frame, which of them have one, and
    which are not flat."""
    windows = np.lib.stride_tricks.sliding_window_view(end, (BLOCK, BLOCK)).reshape(*np.subtract(end.shape, BLOCK - 1), -1)
    squares = (windows**2).sum(-1)
    centres, moves, found, textured = [], [], [], []
    for y in range(0, windows.shape[0], STEP):
        for x in range(0, windows.shape[1], STEP):
            block = start[y : y + BLOCK, x : x + BLOCK].reshape(-1)
            top, left = max(0, y - REACH), max(0, x - REACH)
            near = (slice(top, y + REACH + 1), slice(left, x + REACH + 1))
            difference = (squares[near] - 2 * windows[near] @ block + block @ block) / block.size
            rows, columns = np.ogrid[top : top + difference.shape[0], left : left + difference.shape[1]]
            row, column = np.unravel_index((difference + FAR * np.hypot(rows - y, columns - x)).argmin(), difference.shape)
            centres.append((x + BLOCK / 2, y + BLOCK / 2))
            moves.append((left + column - x, top + row - y))
            textured.append(block.var() > FLAT)
            found.append(textured[-1] and difference[row, column] < LOST * block.var())
    return np.array(centres), np.array(moves, float), np.array(found), np.array(textured)


def _camera(
    places: Float[np.ndarray, "n 2"], moves: Float[np.ndarray, "n 2"]
) -> tuple[Float[np.ndarray, "2"], float, Bool[np.ndarray, " n"]]:
    """The shift and zoom that most blocks share, those at the rim, where the background is, before all; and which blocks those
    are. places: from the centre. Of equal ones the stillest."""
    most, chosen = -1.0, (np.zeros(2), 1.0, np.zeros(len(moves), bool))
    outward = np.abs(places / np.abs(places).max(0)).max(1)
    weights = np.where(outward > RIM, RIM_COUNTS, 1.0)
    for zoom in ZOOMS:
        left = moves - (zoom - 1) * places
        for shift in (np.zeros(2), *np.unique(left.round(), axis=0)):
            near = np.abs(left - shift).max(1) <= NEAR
            moved = (zoom != 1) + bool(shift.any())
            count = weights[near].sum() * SIMPLER**moved
            if count > most:
                most, chosen = count, (shift, zoom, near)
    return chosen


def _shared(moves: Float[np.ndarray, "n 2"]) -> tuple[Float[np.ndarray, "2"], int]:
    """The motion that most blocks share, the mean of theirs, and how many those are; none if too few do."""
    if not len(moves):
        return np.zeros(2), 0
    near = (np.abs(moves[:, None] - moves).max(-1) <= NEAR).astype(int)
    members = near[near.sum(1).argmax()].astype(bool)
    return (moves[members].mean(0), int(members.sum())) if members.sum() >= FEWEST else (np.zeros(2), 0)
