"""Figures: a value with its count, its standard error, and what it is to be read beside (chance, ceiling)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any, SupportsFloat, SupportsInt, TypeAlias

import numpy as np
from jaxtyping import Float, Int

FloatLike: TypeAlias = float | int
Values: TypeAlias = Float[np.ndarray, " n"]
Clusters: TypeAlias = Int[np.ndarray, " n"]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One measured number, named by part, measure and what is measured.

    unit: "dB", "px", "share" (right answers of all), "loss" or "ratio". error: standard error, clustered by story. n: values
    behind the mean. chance: of a blind guess. ceiling: the same reading of the VAE's reconstruction of the truth;
    ceiling_pictures: of the true pictures. None where a thing does not apply or cannot be had.
    """

    part: str
    measure: str
    what: str
    unit: str
    value: FloatLike
    error: FloatLike | None
    n: int
    stories: int
    chance: FloatLike | None = None
    ceiling: FloatLike | None = None
    ceiling_pictures: FloatLike | None = None

    @property
    def name(self) -> str:
        return f"{self.part}: {self.measure}: {self.what}"


def clustered_error(values: Values, clusters: Clusters) -> float | None:
    """Standard error of the mean of values that are alike within a cluster (here a story): the sandwich estimate
    sqrt(G / (G - 1) * sum over G clusters of (sum of residuals)^2) / n. None for fewer than two clusters."""
    _, where = np.unique(clusters, return_inverse=True)
    sums = np.bincount(where, weights=values - values.mean())
    if len(sums) < 2:
        return None
    return math.sqrt(len(sums) / (len(sums) - 1) * float((sums**2).sum())) / len(values)


def mean_figure(
    part: str,
    measure: str,
    what: str,
    unit: str,
    values: Iterable[SupportsFloat],
    clusters: Iterable[SupportsInt],
    **beside: FloatLike | None,
) -> Figure:
    """The mean of values, each from the story that `clusters` names. Raises ValueError if there are none."""
    array, where = np.array([float(v) for v in values]), np.array([int(c) for c in clusters])
    if not len(array):
        raise ValueError(f"{part}: {measure}: {what}: nothing to measure")
    error = clustered_error(array, where)
    return Figure(part, measure, what, unit, float(array.mean()), error, len(array), len(np.unique(where)), **beside)


def ratio_figure(
    part: str, measure: str, what: str, above: Values, below: Values, clusters: Clusters, *, gain: bool = False
) -> Figure:
    """mean(above) / mean(below), or with `gain` 1 minus that; the error is the linearised one of a ratio of means."""
    ratio = float(above.mean() / below.mean())
    error = clustered_error((above - ratio * below) / below.mean(), clusters)
    value = 1 - ratio if gain else ratio
    return Figure(part, measure, what, "ratio", value, error, len(above), len(np.unique(clusters)))


def as_json(figures: Iterable[Figure]) -> list[dict[str, Any]]:
    """The figures as JSON values; what is not finite becomes null."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{key: plain(value) for key, value in dataclasses.asdict(figure).items()} for figure in figures]


def shown(value: FloatLike | None, unit: str) -> str:
    """A number in the digits that its unit deserves; a dash for none."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:.2f}" if unit in ("dB", "px") else f"{value:.3f}"


def markdown_table(figures: Iterable[Figure], goals: Sequence[str] | None = None) -> str:
    """A Markdown table, a row a figure. goals: a last column."""
    titles = ["part", "measure", "what", "value", "± s.e.", "n", "stories", "chance", "ceiling (VAE)", "ceiling (true)"]
    rows = [
        [
            figure.part,
            figure.measure,
            figure.what,
            f"{shown(figure.value, figure.unit)}{' ' + figure.unit if figure.unit in ('dB', 'px') else ''}",
            *(shown(value, figure.unit) for value in (figure.error,)),
            str(figure.n),
            str(figure.stories),
            *(shown(v, figure.unit) for v in (figure.chance, figure.ceiling, figure.ceiling_pictures)),
        ]
        for figure in figures
    ]
    if goals is not None:
        titles, rows = [*titles, "goal"], [[*row, goal] for row, goal in zip(rows, goals, strict=True)]
    widths = [max(len(row[i]) for row in (titles, *rows)) for i in range(len(titles))]
    lines = [titles, ["-" * width for width in widths], *rows]
    return "\n".join("| " + " | ".join(f"{c:<{w}}" for c, w in zip(line, widths, strict=True)) + " |" for line in lines) + "\n"
