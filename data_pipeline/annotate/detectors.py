"""Scores from transformers folders: how likely a picture bears a watermark, how many faces it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipeline.annotate.local_model import pipeline
from stage_jax.errors import InputError
from stage_jax.story.tables import listed_once

SURE = 0.5  # a box of less is not counted; what the pipeline itself leaves out


class Watermark:
    """A classifier of pictures with a class called "watermark"; the score is its probability."""

    name, label = "watermark", "watermark"
    over: Literal["mean", "most"] = "most"

    def __init__(self, folder: Path) -> None:
        self._pipeline = pipeline("image-classification", folder)
        _check_label(self._pipeline, folder, self.label)

    def __call__(self, picture: UInt8[np.ndarray, "height width 3"]) -> float:
        found = self._pipeline(Image.fromarray(picture), top_k=None)
        return next(entry["score"] for entry in found if entry["label"].lower() == self.label)


class Faces:
    """A detector with a class called "face"; the score is how many there are."""

    name, label = "faces", "face"
    over: Literal["mean", "most"] = "most"

    def __init__(self, folder: Path) -> None:
        self._pipeline = pipeline("object-detection", folder)
        _check_label(self._pipeline, folder, self.label)

    def __call__(self, picture: UInt8[np.ndarray, "height width 3"]) -> float:
        found = self._pipeline(Image.fromarray(picture), threshold=SURE)
        return float(sum(entry["label"].lower() == self.label for entry in found))


def _check_label(pipe: object, folder: Path, label: str) -> None:
    labels = sorted(pipe.model.config.id2label.values())
    if label not in [name.lower() for name in labels]:
        raise InputError(f"{folder}: found the classes {listed_once(labels)}, expected one called {label!r}")
