"""What it does for a pair that its frames are denoised together: do start and end agree on how everything moved?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stage_jax.evaluation.figures import Figure, mean_figure, ratio_figure
from stage_jax.evaluation.levels import CAMERA, MOTION, Level, movements
from stage_jax.evaluation.step2 import Outcomes

JOINT, SEPARATE = "joint", "separate"


def gaps_of(read: Outcomes) -> dict[tuple[int, int, str], float]:
    """By story, shot and figure: pixels between how it moved from start to end and how it should have. Where a figure stands
    is drawn by chance within bounds (the caption does not say it exactly), so two frames drawn apart disagree on it."""
    return {(story, m.shot, m.name): m.gap for story, found in read.items() for m in movements(found)}


def gap_figures(read: Mapping[str, Outcomes], measure: str = "dual encoding") -> list[Figure]:
    """The mean gap of every way of drawing; with both ways, by which share the joint one is smaller. The ways drew the same
    shots."""
    gaps = {way: gaps_of(outcomes) for way, outcomes in read.items()}
    figures = []
    for way, found in gaps.items():
        figures.append(
            mean_figure("step2", measure, f"start-end gap, {way}", "px", found.values(), [story for story, *_ in found])
        )
    if {JOINT, SEPARATE} <= gaps.keys():
        keys = list(gaps[JOINT])
        joint, separate = (np.array([gaps[way][key] for key in keys]) for way in (JOINT, SEPARATE))
        stories = np.array([story for story, *_ in keys])
        figures.append(ratio_figure("step2", measure, "start-end gap, smaller by", joint, separate, stories, gain=True))
    return figures


def class_figures(way: str, read: Outcomes, level: Level, beside: Mapping[str, Outcomes]) -> list[Figure]:
    """Share of the shots whose motion, and of level `full` whose camera move, is the one that was asked for. beside: what the
    probe reads elsewhere, for `ceiling` and `ceiling_pictures`."""
    figures = []
    for attribute in (MOTION, CAMERA):
        rows = [(story, o.error) for story, found in read.items() for o in found if o.attribute == attribute]
        if not rows:
            continue
        scores = level.summary(o for found in read.values() for o in found)
        tops = {name: level.summary(o for found in r.values() for o in found)[attribute].value for name, r in beside.items()}
        right, stories = [1 - error for _, error in rows], [story for story, _ in rows]
        measure, chance = f"{way}, asked for", scores[attribute].chance
        figures.append(mean_figure("step2", measure, attribute, "share", right, stories, chance=chance, **tops))
    return figures


def joined(runs: Sequence[Outcomes]) -> dict[int, list]:
    """The outcomes of several sampling seeds, by story: errors then count stories, not seeds."""
    return {story: [o for run in runs for o in run[story]] for story in runs[0]}
