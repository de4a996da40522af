"""What a story of level `full` is. The stage has the lengths of a 64 x 64 picture of a wide shot."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from data_pipeline.toy_cinema import world
from data_pipeline.toy_cinema.world import ToyCharacter, ease
from stage_jax.errors import InputError

NAME = "full"

SHAPES = ("circle", "square", "triangle", "diamond", "star", "heart")
COLOURS = ("red", "yellow", "green", "blue", "purple", "cyan", "orange", "pink")
HATS = ("crown", "fez", "cap", "bow", "cone", "bowler")
SKIES = ("day", "night", "sunset", "cloudy", "dawn", "storm")
GROUNDS = ("grass", "snow", "sand", "stone", "clay")
PROPS = ("tree", "house", "cactus", "tower", "lamp", "tent")
NAMES = (*world.NAMES, "amy", "ben", "cleo", "dan", "elsa", "finn", "gus", "hana")
PLACE_NAMES = (*world.PLACE_NAMES, "west pier", "east gate", "low meadow", "far shore")

WIDE, MEDIUM, CLOSE = "wide", "medium", "close"
SIZES = (WIDE, MEDIUM, CLOSE)
STATIC, PAN_LEFT, PAN_RIGHT = "static", "pan left", "pan right"
TILT_UP, TILT_DOWN, ZOOM_IN, ZOOM_OUT = "tilt up", "tilt down", "zoom in", "zoom out"
CAMERAS = (STATIC, PAN_LEFT, PAN_RIGHT, TILT_UP, TILT_DOWN, ZOOM_IN, ZOOM_OUT)
STAND, WALK_LEFT, WALK_RIGHT, JUMP, LAND = "stand", "walk left", "walk right", "jump", "land"
ACTIONS = (STAND, WALK_LEFT, WALK_RIGHT, JUMP, LAND)
# Which way an action goes on the stage, and what it does to the next shot if that goes on where this one ends.
WAYS = {STAND: (0, 0), WALK_LEFT: (-1, 0), WALK_RIGHT: (1, 0), JUMP: (0, -1), LAND: (0, 1)}
GOES_ON = {WALK_LEFT: WALK_LEFT, WALK_RIGHT: WALK_RIGHT, JUMP: LAND}
BACKWARDS = {WALK_LEFT: WALK_RIGHT, WALK_RIGHT: WALK_LEFT, LAND: JUMP}

SIDE = 20.0  # of a body's square on the stage
FEET = 52.0  # height on the stage, downwards, of whoever stands on the ground
ZOOMS = {WIDE: 1.0, MEDIUM: 1.22, CLOSE: 1.45}
FEET_SHOWN = {WIDE: 52.0, MEDIUM: 54.0, CLOSE: 54.0}  # where the start frame shows FEET
PAN, TILT, ZOOM = 12.0, 8.0, 1.2  # pixels, pixels, factor: how far a camera move goes


@dataclasses.dataclass(frozen=True)
class FullPlace:
    name: str
    sky: str
    ground: str
    prop: str


@dataclasses.dataclass(frozen=True)
class FullShot:
    """One shot. characters: indices, the first acts in what is cut on.

    actions, x, travel: of each character; x: where its body's centre is in the start frame, travel: how far its action takes
    it, both in pixels of the start frame. goes_on: the first character goes on with what it did at the end of the shot before
    (it walks on, or comes down from its jump), which the caption does not spell out.
    """

    characters: tuple[int, ...]
    place: int
    size: str
    camera: str
    actions: tuple[str, ...]
    x: tuple[float, ...]
    travel: tuple[float, ...]
    goes_on: bool = False


@dataclasses.dataclass(frozen=True)
class FullStory:
    """wording: seed of the choice among equivalent sentences."""

    seed: int
    split: str
    characters: tuple[ToyCharacter, ...]
    places: tuple[FullPlace, ...]
    shots: tuple[FullShot, ...]
    wording: int = 0

    def truth(self) -> dict[str, Any]:
        """All that is known of the story, as JSON values."""
        return {"level": NAME, **dataclasses.asdict(self)}


def from_truth(truth: Mapping[str, Any]) -> FullStory:
    """The inverse of `FullStory.truth`. Raises InputError where a field is missing or unknown."""
    try:
        fields = dict(truth)
        if (level := fields.pop("level")) != NAME:
            raise InputError(f"truth of a toy story: found level {level!r}, expected {NAME!r}")
        lists = ("characters", "actions", "x", "travel")
        shots = tuple(FullShot(**{**shot, **{name: tuple(shot[name]) for name in lists}}) for shot in fields["shots"])
        characters = tuple(ToyCharacter(**c) for c in fields["characters"])
        places = tuple(FullPlace(**p) for p in fields["places"])
        return FullStory(**{**fields, "characters": characters, "places": places, "shots": shots})
    except (KeyError, TypeError) as error:
        raise InputError(f"truth of a toy story: found {error}, expected the fields of FullStory") from error


@dataclasses.dataclass(frozen=True)
class View:
    """What the camera sees: the point of the stage in the middle of the picture, and the enlargement."""

    x: float
    y: float
    zoom: float

    def shown(self, x: float | int, y: float | int) -> tuple[float, float]:
        """Where the picture shows a point of the stage."""
        return world.SIDE / 2 + self.zoom * (x - self.x), world.SIDE / 2 + self.zoom * (y - self.y)

    def on_stage(self, x: float | int, y: float | int) -> tuple[float, float]:
        """The inverse of `shown`."""
        return self.x + (x - world.SIDE / 2) / self.zoom, self.y + (y - world.SIDE / 2) / self.zoom


def view(size: str, camera: str, phase: float | int) -> View:
    """The view at a phase of a shot, 0 (start frame) to 1 (end frame); all moves of a size start from the same one."""
    zoom, gone = ZOOMS[size], ease(phase)
    x, y = world.SIDE / 2, FEET - (FEET_SHOWN[size] - world.SIDE / 2) / zoom
    dx, dy = {PAN_LEFT: (-PAN, 0.0), PAN_RIGHT: (PAN, 0.0), TILT_UP: (0.0, -TILT), TILT_DOWN: (0.0, TILT)}.get(camera, (0, 0))
    grown = {ZOOM_IN: ZOOM, ZOOM_OUT: 1 / ZOOM}.get(camera, 1.0) ** gone
    return View(x + dx * gone / zoom, y + dy * gone / zoom, zoom * grown)


def positions(shot: FullShot, phase: float | int) -> tuple[tuple[float, float], ...]:
    """(x of the body's centre, y of the feet) on the stage, of each character."""
    start, gone = view(shot.size, shot.camera, 0), ease(phase)
    spots = []
    for action, x, travel in zip(shot.actions, shot.x, shot.travel, strict=True):
        (way_x, way_y), length = WAYS[action], travel / start.zoom
        first_y = FEET - length if action == LAND else FEET
        spots.append((start.on_stage(x, 0.0)[0] + way_x * length * gone, first_y + way_y * length * gone))
    return tuple(spots)


def shown_figures(shot: FullShot, phase: float | int) -> tuple[tuple[float, float, float], ...]:
    """(x, y, side) of each figure in the picture."""
    seen = view(shot.size, shot.camera, phase)
    return tuple((*seen.shown(x, y), SIDE * seen.zoom) for x, y in positions(shot, phase))


def backwards(shot: FullShot) -> FullShot:
    """The shot with the way of its first character turned round: where it ended it starts, and so breaks the cut."""
    action, *others = shot.actions
    way = WAYS[action][0] * shot.travel[0]
    return dataclasses.replace(shot, actions=(BACKWARDS[action], *others), x=(shot.x[0] + way, *shot.x[1:]))
