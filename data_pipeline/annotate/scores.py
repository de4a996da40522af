"""Numbers that models give to shots, and the shots that are left out for them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from data_pipeline.annotate.told import Told, ToldFilm
from stage_jax.story.pairs import read_picture


@runtime_checkable
class Scorer(Protocol):
    """name: of the score. over: how the numbers of a shot's pictures become one."""

    name: str
    over: Literal["mean", "most"]

    def __call__(self, picture: UInt8[np.ndarray, "height width 3"]) -> float:
        """The number of one picture."""
        ...


@dataclass(frozen=True)
class Scored:
    """Gives every shot the score of its pictures."""

    scorer: Scorer

    def __call__(self, told: ToldFilm) -> ToldFilm:
        return told.with_shots([shot.scored(self.scorer.name, self._score(told, shot)) for shot in told.shots])

    def _score(self, film: ToldFilm, told: Told) -> float:
        numbers = [self.scorer(read_picture(path)) for path in film.film.pictures(told.record)]
        return round(float(np.mean(numbers) if self.scorer.over == "mean" else np.max(numbers)), 4)


@dataclass(frozen=True)
class Filtered:
    """Leaves shots out of the story whose scores, by their names, are below `least` or above `most`; `dropped` says why."""

    least: Mapping[str, float]
    most: Mapping[str, float]

    def __call__(self, told: ToldFilm) -> ToldFilm:
        return told.with_shots([dataclasses.replace(shot, dropped=self._why(shot)) for shot in told.shots])

    def _why(self, told: Told) -> str:
        scores = told.scores
        low = [f"{name} {scores[name]:g} below {limit:g}" for name, limit in self.least.items() if scores[name] < limit]
        high = [f"{name} {scores[name]:g} above {limit:g}" for name, limit in self.most.items() if scores[name] > limit]
        return ", ".join(low + high)
