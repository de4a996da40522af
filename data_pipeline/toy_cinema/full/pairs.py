"""Preference pairs of level `full`: what training by preferences (DPO) is told to like better, and what worse."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import UInt8

from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.full import render, world
from data_pipeline.toy_cinema.full.stories import interior_frames
from data_pipeline.toy_cinema.full.world import FullStory

INTERIOR, DIRECTION, ACTION = "interior", "screen direction", "match on action"
KINDS = (INTERIOR, DIRECTION, ACTION)


@dataclasses.dataclass(frozen=True, eq=False)
class Preference:
    """Of one shot: its true pair, and a worse one."""

    shot: int
    kind: str
    chosen: UInt8[np.ndarray, "2 h w 3"]
    rejected: UInt8[np.ndarray, "2 h w 3"]


def broken_cuts(story: FullStory) -> tuple[tuple[int, str], ...]:
    """(shot, kind) of every shot whose cut can be broken: it goes on with what the shot before it began."""
    return tuple(
        (i, ACTION if shot.actions[0] == world.LAND else DIRECTION) for i, shot in enumerate(story.shots) if shot.goes_on
    )


def broken_pair(story: FullStory, shot_index: int, size: int = lengths.SIDE) -> UInt8[np.ndarray, "2 size size 3"]:
    """The pair of a shot that breaks the cut before it: who walked on turns round, who was in the air stands on the ground.

    Everything else, the camera move too, is as in the true pair.
    """
    return render.render_pair(story, world.backwards(story.shots[shot_index]), size)


def moves(story: FullStory, shot_index: int) -> bool:
    """Whether anything moves in a shot; where nothing does, its interior frames are no worse than its pair."""
    shot = story.shots[shot_index]
    return shot.camera != world.STATIC or any(action != world.STAND for action in shot.actions)


def preferences(story: FullStory, size: int = lengths.SIDE) -> tuple[Preference, ...]:
    """All preference pairs of a story, in the order of its shots.

    Interior: the true pair against two interior frames of the same shot, STAGE's own kind. Cuts: a kept against a broken one.
    """
    cuts, found = dict(broken_cuts(story)), []
    for i, shot in enumerate(story.shots):
        chosen = render.render_pair(story, shot, size)
        if moves(story, i):
            inside = [render.render_shot(story, shot, f / (lengths.FRAMES - 1), size) for f in interior_frames(story, i)]
            found.append(Preference(i, INTERIOR, chosen, np.stack(inside)))
        if i in cuts:
            found.append(Preference(i, cuts[i], chosen, broken_pair(story, i, size)))
    return tuple(found)
