"""How the camera moves, from how the points of the picture move: a similarity that most of them share."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline.ingest.shots import Camera

WIDTH = 256  # pixels of the pictures that points are followed in
CELL = 12  # pixels: of each cell one point is followed, weak ones too, or a figure with many corners would be the world
WEAKEST = 2e-5  # smaller eigenvalue of the gradients round a point, by OpenCV's scale: noise of two grey levels has less
BACK = 0.7  # pixels from where it came from that a point followed there and back may land
INLIER = 0.8  # pixels from where the similarity puts it
FEWEST = 6  # points that tell anything
REGION = 36  # pixels: the points of a region share one vote
FAR = 30  # pixels between two points that tell an enlargement
TRIALS = 300  # pairs of points that similarities are tried of
# A shot in which the picture moves less than this in all, in its widths, or slower, in widths a second, is static.
LEAST, SLOWEST = 0.02, 0.006
REACH = 0.3  # widths that the points of a picture move in the mean when it is enlarged e times


@dataclass(frozen=True)
class Step:
    """From one picture to a later one: how far the whole picture moves, x and y in its widths, zoom as the logarithm of the
    enlargement; motion: how far its points do in the mean, whatever moves them. told: whether anything does."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 0.0
    motion: float = 0.0
    told: bool = False


def camera_step(before: UInt8[np.ndarray, "height width"], after: UInt8[np.ndarray, "height width"]) -> Step:
    """Follows corners from `before` to `after`, and back as a check (pyramidal Lucas-Kanade)."""
    corners = _corners(before)
    if len(corners) < FEWEST:
        return Step()
    moved, found, _ = cv2.calcOpticalFlowPyrLK(before, after, corners, None, winSize=(15, 15), maxLevel=3)
    back, returned, _ = cv2.calcOpticalFlowPyrLK(after, before, moved, None, winSize=(15, 15), maxLevel=3)
    good = (found & returned).ravel().astype(bool) & (np.linalg.norm(back - corners, axis=2).ravel() < BACK)
    if good.sum() < FEWEST:
        return Step()
    start, end = corners[good, 0], moved[good, 0]
    height, width = before.shape
    motion = float(np.linalg.norm(end - start, axis=1).mean()) / width
    inside = _shared(start, end, height, width)
    if inside.sum() < FEWEST:
        return Step(motion=motion)
    zoom, shift = _similarity(start[inside], end[inside])
    x, y = shift + (zoom - 1) * np.array([width / 2, height / 2])
    return Step(float(x) / width, float(y) / width, math.log(zoom), motion, told=True)


def _shared(start: np.ndarray, end: np.ndarray, height: int, width: int) -> np.ndarray:
    """Which points move as one: of the similarities that pairs of points ask for, the one that most of the picture follows."""
    rng = np.random.default_rng(0)
    one, other = rng.integers(len(start), size=(2, TRIALS))
    apart = start[other] - start[one]
    zooms = ((end[other] - end[one]) * apart).sum(1) / np.maximum((apart**2).sum(1), 1e-6)
    zooms = np.append(np.where((apart**2).sum(1) > FAR**2, zooms, 1.0), 1.0)
    shifts = np.vstack([end[one] - zooms[:-1, None] * start[one], np.zeros((1, 2))])  # and that nothing moves
    strays = np.linalg.norm(zooms[:, None, None] * start + shifts[:, None] - end, axis=2)
    places = (start * np.array([round(width / REGION) / width, round(height / REGION) / height])).astype(int)
    _, region, crowd = np.unique(places, axis=0, return_inverse=True, return_counts=True)
    # At the edges the world is seen, in the middle who walks through it.
    outwards = 2 * np.abs(start / np.array([width, height]) - 0.5).max(1)
    votes = (np.maximum(1 - strays / INLIER, 0) * (outwards**4 + 0.02) / crowd[region.ravel()]).sum(1)
    return strays[votes.argmax()] < INLIER


def _corners(picture: np.ndarray) -> Float32[np.ndarray, "points 1 2"]:
    """The strongest corner of every cell that has one, x and y."""
    strength = cv2.cornerMinEigenVal(picture, blockSize=5)
    height, width = (CELL * (side // CELL) for side in strength.shape)
    cells = strength[:height, :width].reshape(height // CELL, CELL, width // CELL, CELL).transpose(0, 2, 1, 3)
    cells = cells.reshape(height // CELL, width // CELL, CELL * CELL)
    row, column = np.nonzero(cells.max(2) > WEAKEST)
    inside = cells.argmax(2)[row, column]
    return np.stack([CELL * column + inside % CELL, CELL * row + inside // CELL], 1).astype(np.float32)[:, None]


def _similarity(start: np.ndarray, end: np.ndarray) -> tuple[float, np.ndarray]:
    """The enlargement and the shift, in pixels, that bring `start` nearest to `end`; no camera move that is told turns it."""
    from_here, to_there = start - start.mean(0), end - end.mean(0)
    zoom = max(float((from_here * to_there).sum() / max((from_here**2).sum(), 1e-6)), 1e-3)
    return zoom, end.mean(0) - zoom * start.mean(0)


def camera_of(x: float, y: float, zoom: float, seconds: float, aspect: float) -> Camera:
    """The camera of a shot whose picture moves by these sums of steps in `seconds`. aspect: width over height."""
    extents = {"pan": abs(x), "tilt": abs(y), "zoom": REACH * abs(zoom)}
    kind = max(extents, key=extents.get)
    if extents[kind] < LEAST or extents[kind] < SLOWEST * seconds:
        return Camera("static")
    # The picture goes the other way than the camera.
    if kind == "pan":
        return Camera(kind, "right" if x < 0 else "left", round(abs(x) / seconds, 4))
    if kind == "tilt":
        return Camera(kind, "down" if y < 0 else "up", round(abs(y) * aspect / seconds, 4))
    return Camera(kind, "in" if zoom > 0 else "out", round(abs(zoom) / seconds, 4))
