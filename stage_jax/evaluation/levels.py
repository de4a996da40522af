"""The toy world's levels as measurements see them: how stories are drawn, and what the probe reads from their pictures."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from data_pipeline import toy_records
from data_pipeline.records import Example
from data_pipeline.toy_cinema import scores, world
from data_pipeline.toy_cinema.full import scores as full_scores
from data_pipeline.toy_cinema.full import stories as full_stories
from data_pipeline.toy_cinema.full import world as full_world
from data_pipeline.toy_cinema.scores import Outcome, Score
from stage_jax.errors import InputError

Story = world.ToyStory | full_world.FullStory
MOTION, CAMERA = full_scores.MOTION, full_scores.CAMERA
MOVES = {world.WALK_LEFT: (-16, 0), world.WALK_RIGHT: (16, 0), world.JUMP: (0, -11)}  # typical ways of level `easy`, in pixels


@dataclasses.dataclass(frozen=True)
class Level:
    """attributes: what is read of a frame. remembered: those that a caption tells once and memory has to hold. draw: (seed,
    split, shots or None) -> a story. example: (story, clips, interior, size) -> what its record would hold."""

    name: str
    attributes: tuple[str, ...]
    remembered: tuple[str, ...]
    from_truth: Callable[[Mapping[str, Any]], Story]
    draw: Callable[[int, str, int | None], Story]
    example: Callable[[Story, bool, int, int], Example]
    outcomes: Callable[[Story, np.ndarray], list[Outcome]]
    summary: Callable[[Iterable[Outcome]], dict[str, Score]]


@dataclasses.dataclass(frozen=True)
class Movement:
    """How a figure moved from the start frame to the end frame, in pixels: as it should have, and as it was read."""

    shot: int
    name: str
    true: tuple[float, float]
    read: tuple[float, float]

    @property
    def gap(self) -> float:
        """By how much start and end frame disagree."""
        return math.dist(self.true, self.read)


def movements(found: Iterable[Outcome]) -> list[Movement]:
    """Of all figures that a story's frames show, in the order of its shots."""
    seen: dict[tuple[int, str], dict[str, Outcome]] = {}
    for outcome in found:
        if outcome.attribute == scores.POSITION:
            seen.setdefault((outcome.shot, outcome.name), {})[str(outcome.which)] = outcome

    def way(frames: Mapping[str, Outcome], what: str) -> tuple[float, float]:
        (x0, y0), (x1, y1) = (map(float, getattr(frames[which], what).split(",")) for which in ("start", "end"))
        return x1 - x0, y1 - y0

    return [Movement(*who, way(frames, "truth"), way(frames, "read")) for who, frames in seen.items()]


def _easy_outcomes(story: world.ToyStory, pictures: np.ndarray) -> list[Outcome]:
    """With what the first figure of each shot did, which the caption tells."""
    found = scores.story_outcomes(story, pictures)
    acted = set()
    for moved in movements(found):
        if moved.shot not in acted:
            acted.add(moved.shot)
            truth = story.shots[moved.shot].action
            read = min(MOVES, key=lambda action: math.dist(MOVES[action], moved.read))
            found.append(Outcome(moved.shot, "end", MOTION, moved.name, truth, read, False, float(truth != read)))
    return found


def _easy_summary(found: Iterable[Outcome]) -> dict[str, Score]:
    found = list(found)
    errors = [o.error for o in found if o.attribute == MOTION]
    motion = {MOTION: Score(len(errors), 1 - float(np.mean(errors)), 1 / len(MOVES))} if errors else {}
    return scores.summary(found) | motion


def _draw_easy(seed: int, split: str, shots: int | None) -> world.ToyStory:
    level = world.EASY if shots is None else dataclasses.replace(world.EASY, shots=(shots, shots))
    return world.random_story(seed, level, split)


def _draw_full(seed: int, split: str, shots: int | None) -> full_world.FullStory:
    """Of so many shots: the first ones of the first story that has them, of those that follow this seed far away."""
    story = full_stories.random_story(seed, split)
    number = 0
    while shots is not None and len(story.shots) < shots:
        number += 1
        story = full_stories.random_story(seed + number * FAR, split)
    return story if shots is None else dataclasses.replace(story, shots=story.shots[:shots])


FAR = 1_000_003  # between the seeds that are tried for one long story
EASY = Level(
    "easy", (*scores.ATTRIBUTES, MOTION), ("colour", "shape", "hat", "place"), world.from_truth, _draw_easy,
    toy_records.toy_example, _easy_outcomes, _easy_summary,
)  # fmt: skip
FULL = Level(
    "full", full_scores.ATTRIBUTES, (*full_scores.IDENTITY, *full_scores.PLACE), full_world.from_truth, _draw_full,
    toy_records.full_example, full_scores.story_outcomes, full_scores.summary,
)  # fmt: skip
LEVELS = {level.name: level for level in (EASY, FULL)}


def level_named(name: str, where: str) -> Level:
    if name not in LEVELS:
        raise InputError(f"{where}: found toy stories of level {name!r}, expected one of {', '.join(LEVELS)}")
    return LEVELS[name]


def level_of(story: Story) -> Level:
    return FULL if isinstance(story, full_world.FullStory) else EASY
