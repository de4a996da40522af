"""What is measured of pictures of a film, several a second, and of a shot as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from data_pipeline.ingest.bars import bars_of, narrowest, without_bars
from data_pipeline.ingest.camera import WIDTH, Step, camera_of, camera_step
from data_pipeline.ingest.decode import FilmFrame
from data_pipeline.ingest.duplicates import signature
from data_pipeline.ingest.quality import colours, sharpness
from data_pipeline.ingest.shots import Bars, Camera

RATE = 8.0  # pictures a second that are measured


@dataclass(frozen=True)
class Sample:
    """One picture. step: the movement since the sample before it. bars: None if it is black all over."""

    index: int
    seconds: float
    bars: Bars | None
    brightness: float
    sharpness: float
    colours: Float32[np.ndarray, "64"]
    cells: UInt8[np.ndarray, "9 16 3"]
    step: Step | None
    aspect: float


class Sampler:
    """Measures every so many frames. rate: frames a second of the film."""

    def __init__(self, rate: float) -> None:
        self._every = max(round(rate / RATE), 1)
        self._grey: np.ndarray | None = None
        self._bars = Bars()

    def __call__(self, frame: FilmFrame, small: UInt8[np.ndarray, "h w 3"]) -> Sample | None:
        """small: the same picture, smaller."""
        if frame.index % self._every:
            return None
        grey, before = frame.grey(), self._grey
        bars = bars_of(grey)
        crop = bars or Bars()
        colour_crop = _scaled(crop, len(small) / len(grey), small.shape[1] / grey.shape[1])
        inner, coloured = without_bars(grey, crop), without_bars(small, colour_crop)
        step = None
        if before is not None and before.shape == grey.shape:
            both = _widest(crop, self._bars)
            step = camera_step(*(_narrow(without_bars(picture, both)) for picture in (before, grey)))
        self._grey, self._bars = grey, crop
        return Sample(
            frame.index, frame.seconds, bars, float(inner.mean()), sharpness(inner), colours(coloured), signature(coloured),
            step, inner.shape[1] / inner.shape[0],
        )  # fmt: skip


@dataclass
class ShotMeasures:
    """Sums over the samples of a shot, which may be as long as it likes."""

    samples: int = 0
    bars: Bars | None = None
    brightest: float = 0.0
    sharpness: float = 0.0
    colours: np.ndarray = field(default_factory=lambda: np.zeros(64, np.float32))
    cells: list[np.ndarray] = field(default_factory=list)  # of the first, all and the last
    moved: np.ndarray = field(default_factory=lambda: np.zeros(3))
    motion: float = 0.0
    seconds: float = 0.0  # that steps were measured over
    told: float = 0.0  # of them, those in which the camera's movement shows
    aspect: float = 1.0
    _before: Sample | None = None

    def add(self, sample: Sample) -> None:
        cells = sample.cells.astype(np.float32)
        self.cells = [self.cells[0], self.cells[1] + cells, cells] if self.cells else [cells, cells, cells]
        self.samples += 1
        self.brightest = max(self.brightest, sample.brightness)
        self.sharpness += sample.sharpness
        self.colours = self.colours + sample.colours
        self.aspect = sample.aspect
        if sample.bars is not None:
            self.bars = sample.bars if self.bars is None else narrowest(self.bars, sample.bars)
        if self._before is not None and sample.step is not None:
            step, seconds = sample.step, sample.seconds - self._before.seconds
            self.motion += step.motion
            self.seconds += seconds
            if step.told:
                self.moved += (step.x, step.y, step.zoom)
                self.told += seconds
        self._before = sample

    def camera(self) -> Camera | None:
        """None where no movement could be measured for half of the shot."""
        if self.told <= 0 or self.told < self.seconds / 2:
            return None
        return camera_of(*map(float, self.moved * (self.seconds / self.told)), self.seconds, self.aspect)

    def signatures(self) -> UInt8[np.ndarray, "3 9 16 3"]:
        first, total, last = self.cells
        return np.rint(np.stack([first, total / self.samples, last])).astype(np.uint8)


def _narrow(grey: np.ndarray) -> np.ndarray:
    width = min(WIDTH, grey.shape[1])
    height = max(round(width * grey.shape[0] / grey.shape[1]), 16)
    return cv2.resize(grey, (width, min(height, 4 * width)), interpolation=cv2.INTER_AREA)


def _widest(one: Bars, other: Bars) -> Bars:
    return Bars(*(max(getattr(one, side), getattr(other, side)) for side in ("top", "bottom", "left", "right")))


def _scaled(bars: Bars, high: float, wide: float) -> Bars:
    """high, wide: the sides over those of the picture, which differ where a stream changes its size."""
    return Bars(round(bars.top * high), round(bars.bottom * high), round(bars.left * wide), round(bars.right * wide))
