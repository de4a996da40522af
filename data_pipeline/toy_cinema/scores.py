"""How often the probe reads what a story says: accuracy for each attribute, beside chance and the probe's ceiling."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import UInt8

from data_pipeline.toy_cinema import probe, render, world
from data_pipeline.toy_cinema.captions import first_seen

POSITION = "position"
ATTRIBUTES = ("colour", "shape", "hat", "place", POSITION)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """One attribute of one appearance in one frame.

    recalled: the shot's caption does not tell it, so that only earlier frames do. error: 0 or 1 for right or wrong;
    pixels between truth and reading for the position.
    """

    shot: int
    which: str | float | int
    attribute: str
    name: str
    truth: str
    read: str
    recalled: bool
    error: float


@dataclasses.dataclass(frozen=True)
class Score:
    """n outcomes; value: share read right, or mean error in pixels for the position; chance: share of a blind guess."""

    n: int
    value: float
    chance: float


def outcomes(story: world.ToyStory, shot_index: int, which: str | float | int, reading: probe.Reading) -> list[Outcome]:
    """The reading of a frame compared with the truth, attribute by attribute."""
    shot = story.shots[shot_index]
    described, place_described = first_seen(story)[shot_index]
    expected = render.scene_spec(story, shot_index, probe.phase_of(which)).figures
    found = []

    def add(attribute: str, name: str, truth: str, read: str, told: bool, error: float) -> None:
        found.append(Outcome(shot_index, which, attribute, name, truth, read, not told, error))

    for i, figure, read in zip(shot.characters, expected, reading.figures, strict=True):
        who, told = story.characters[i], i in described
        for attribute in ("colour", "shape", "hat"):
            truth, value = getattr(who, attribute), getattr(read, attribute)
            add(attribute, who.name, truth, value, told, float(truth != value))
        distance = math.hypot(figure.x - read.x, figure.y - read.y)
        add(POSITION, who.name, f"{figure.x},{figure.y}", f"{read.x},{read.y}", False, distance)
    place = story.places[shot.place]
    add("place", place.name, place.kind, reading.place, place_described, float(place.kind != reading.place))
    return found


def story_outcomes(story: world.ToyStory, pictures: UInt8[np.ndarray, "shots 2 h w 3"]) -> list[Outcome]:
    """Outcomes of all pairs of a story."""
    found = []
    for i, (start, end) in enumerate(probe.read_story(pictures, story)):
        found += outcomes(story, i, "start", start) + outcomes(story, i, "end", end)
    return found


def summary(found: Iterable[Outcome], level: world.Level = world.EASY) -> dict[str, Score]:
    """A score for each attribute that occurs. Pass `(o for o in found if o.recalled)` for what memory must hold."""
    options = {"colour": level.colours, "shape": level.shapes, "hat": level.hats, "place": level.places}
    errors: dict[str, list[float]] = {}
    for outcome in found:
        errors.setdefault(outcome.attribute, []).append(outcome.error)
    scores = {}
    for attribute in ATTRIBUTES:
        if attribute in errors:
            mean = float(np.mean(errors[attribute]))
            if attribute == POSITION:
                scores[attribute] = Score(len(errors[attribute]), mean, math.nan)
            else:
                scores[attribute] = Score(len(errors[attribute]), 1.0 - mean, 1.0 / len(options[attribute]))
    return scores


def true_pairs(story: world.ToyStory, size: int = world.SIDE) -> UInt8[np.ndarray, "shots 2 size size 3"]:
    """The start and end frames of a story."""
    return np.stack(
        [[render.render_frame(story, i, phase, size) for phase in (0.0, 1.0)] for i in range(len(story.shots))]
    )


def ceiling(
    stories: Iterable[world.ToyStory], spoil: Callable[[np.ndarray], np.ndarray] = lambda pictures: pictures
) -> dict[str, Score]:
    """What the probe reads from the true pictures, or from what `spoil` (a codec, noise) leaves of them."""
    return summary(o for story in stories for o in story_outcomes(story, spoil(true_pairs(story))))
