"""How often the probe reads what a story of level `full` says, and what it takes whole frames for."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from jaxtyping import UInt8

from data_pipeline.toy_cinema.captions import first_seen
from data_pipeline.toy_cinema.full import probe, render, world
from data_pipeline.toy_cinema.full.probe import FigureReading, Reading
from data_pipeline.toy_cinema.full.world import FullStory, ToyCharacter
from data_pipeline.toy_cinema.scores import POSITION, Outcome, Score

IDENTITY, PLACE = ("shape", "colour", "hat"), ("sky", "ground", "prop")
SCALE, MOTION, CAMERA, CUT = "scale", "motion", "camera", "cut"
KEPT, BROKEN = "kept", "broken"
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "shape": world.SHAPES,
    "colour": world.COLOURS,
    "hat": world.HATS,
    "sky": world.SKIES,
    "ground": world.GROUNDS,
    "prop": world.PROPS,
    SCALE: world.SIZES,
    MOTION: world.ACTIONS,
    CAMERA: world.CAMERAS,
    CUT: (KEPT, BROKEN),
}
ATTRIBUTES = (*OPTIONS, POSITION)

TRUE, SWAPPED, OTHER, NOISE = "true", "swapped characters", "another story", "noise"
VERDICTS = (TRUE, SWAPPED, OTHER, NOISE)
NOISE_STRANGE = 0.6  # share of pixels unlike the nearest exact picture, above which it is like none

Pair = UInt8[np.ndarray, "2 h w 3"]


def shot_outcomes(
    story: FullStory, shot_index: int, readings: tuple[Reading, Reading], before: tuple[Reading, Reading] | None
) -> list[Outcome]:
    """The readings of a pair compared with the truth. before: those of the pair before, of which the cut is read."""
    shot = story.shots[shot_index]
    described, place_described = first_seen(story)[shot_index]
    place, found = story.places[shot.place], []

    def add(which: str, attribute: str, name: str, truth: str, read: str, told: bool, error: float | None = None) -> None:
        wrong = float(truth != read) if error is None else error
        found.append(Outcome(shot_index, which, attribute, name, truth, read, not told, wrong))

    for which, phase, reading in zip(("start", "end"), (0.0, 1.0), readings, strict=True):
        spots = world.shown_figures(shot, phase)
        for i, (x, y, _), read in zip(shot.characters, spots, reading.figures, strict=True):
            who = story.characters[i]
            for attribute in IDENTITY:
                cue = attribute == "shape" and len(shot.characters) == 2
                add(which, attribute, who.name, getattr(who, attribute), getattr(read, attribute), cue or i in described)
            add(which, SCALE, who.name, shot.size, read.size, True)
            add(which, POSITION, who.name, f"{x},{y}", f"{read.x},{read.y}", False, math.hypot(x - read.x, y - read.y))
        for attribute in PLACE:
            add(which, attribute, place.name, getattr(place, attribute), getattr(reading.place, attribute), place_described)
    actions = probe.read_actions(*readings, shot.size)
    for n, (i, truth, read) in enumerate(zip(shot.characters, shot.actions, actions, strict=True)):
        add("end", MOTION, story.characters[i].name, truth, read, not (shot.goes_on and n == 0))
    add("end", CAMERA, "", shot.camera, readings[1].camera, True)
    if shot.goes_on and before is not None:
        earlier = probe.read_actions(*before, story.shots[shot_index - 1].size)[0]
        add("end", CUT, "", KEPT, KEPT if probe.cut_is_kept(earlier, actions[0]) else BROKEN, False)
    return found


def story_outcomes(story: FullStory, pairs: UInt8[np.ndarray, "shots 2 h w 3"]) -> list[Outcome]:
    """Outcomes of all pairs of a story."""
    found, before = [], None
    for i, (shot, pair) in enumerate(zip(story.shots, pairs, strict=True)):
        readings = probe.read_pair(pair, shot)
        found += shot_outcomes(story, i, readings, before)
        before = readings
    return found


def summary(found: Iterable[Outcome]) -> dict[str, Score]:
    """A score for each attribute that occurs, with the chance of a blind guess (NaN for the position, which is in pixels)."""
    errors: dict[str, list[float]] = {}
    for outcome in found:
        errors.setdefault(outcome.attribute, []).append(outcome.error)
    scores = {}
    for attribute in (a for a in ATTRIBUTES if a in errors):
        n, mean = len(errors[attribute]), float(np.mean(errors[attribute]))
        if attribute == POSITION:
            scores[attribute] = Score(n, mean, math.nan)
        else:
            scores[attribute] = Score(n, 1.0 - mean, 1.0 / len(OPTIONS[attribute]))
    return scores


def true_pairs(story: FullStory) -> UInt8[np.ndarray, "shots 2 64 64 3"]:
    return np.stack([render.render_pair(story, shot) for shot in story.shots])


def ceiling(
    stories: Iterable[FullStory], spoil: Callable[[np.ndarray], np.ndarray] = lambda pairs: pairs
) -> dict[str, Score]:
    """What the probe reads from the true pairs, or from what `spoil` (a codec, noise) leaves of them."""
    return summary(o for story in stories for o in story_outcomes(story, spoil(true_pairs(story))))


def score_table(scores: Mapping[str, Score], ceilings: Mapping[str, Score]) -> str:
    """A Markdown table: each figure with its chance and its ceiling."""
    lines = ["| attribute | n | read right | chance | ceiling |", "| --- | --- | --- | --- | --- |"]
    for name, score in scores.items():
        if name == POSITION:
            lines.append(f"| {name} | {score.n} | {score.value:.2f} px off | – | {ceilings[name].value:.2f} px off |")
        else:
            lines.append(f"| {name} | {score.n} | {score.value:.3f} | {score.chance:.3f} | {ceilings[name].value:.3f} |")
    return "\n".join(lines) + "\n"


def who_is(figure: FigureReading, cast: tuple[ToyCharacter, ...]) -> int | None:
    """The character that agrees in at least two of shape, colour and hat; None if none does."""
    agree = [sum(getattr(figure, a) == getattr(c, a) for a in IDENTITY) for c in cast]
    return int(np.argmax(agree)) if max(agree) >= 2 else None


def verdict(reading: Reading, story: FullStory, shot_index: int) -> str:
    """What a frame is that claims to be of a shot: one of VERDICTS.

    Noise is like no exact picture. In a true frame everybody is who was named, at the place that was named; swapped characters
    are all of this story, at the right place, but not the ones named; everything else is another story's. For each figure one
    of all the attributes read may be wrong, since stories share many of them.
    """
    if reading.strange > NOISE_STRANGE:
        return NOISE
    shot = story.shots[shot_index]
    found = tuple(who_is(figure, story.characters) for figure in reading.figures)
    if None in found:
        return OTHER
    wrong = sum(getattr(reading.place, a) != getattr(story.places[shot.place], a) for a in PLACE)
    for i, figure in zip(found, reading.figures, strict=True):
        wrong += sum(getattr(figure, a) != getattr(story.characters[i], a) for a in IDENTITY)
    if wrong > len(found):
        return OTHER
    return TRUE if found == shot.characters else SWAPPED
