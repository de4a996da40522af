"""What a toy story is: who, where, which shots, sampled from a seed. Lengths are pixels of a 64 x 64 picture."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from stage_jax.errors import InputError

SIDE = 64  # the side of the picture that all lengths here refer to
FRAMES = 17  # frames of a clip, 4k + 1 as the causal VAE wants them
FPS = 8.0
SPLITS = {"train": 0, "validation": 1, "test": 2}  # first word of every random stream: splits never share one
GIVEN = "given"  # the split of a story that a person wrote
STREAMS = {**SPLITS, GIVEN: 3}
INTERIOR_STREAM = 1  # told apart from the story's own stream

WALK_LEFT, WALK_RIGHT, JUMP = "walk left", "walk right", "jump"
WIDE, CLOSE = "wide", "close"

NAMES = (
    "mia", "bo", "leo", "ada", "max", "zoe", "tom", "eva", "sam", "ivy", "ned", "lou", "kai", "una", "rex", "fay",
)  # fmt: skip
PLACE_NAMES = (
    "elm hill", "oak row", "ash lane", "fox end", "mill road", "long acre", "high moor", "old ford", "new cross",
    "bell yard", "rose court", "park gate",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Level:
    """What the stories of one level hold, and how many shots they have."""

    name: str
    shapes: tuple[str, ...]
    colours: tuple[str, ...]
    hats: tuple[str, ...]
    places: tuple[str, ...]
    sizes: tuple[str, ...]
    actions: tuple[str, ...]
    shots: tuple[int, int] = (3, 8)
    together: float = 0.3  # share of the shots that show both characters, in stories that have two


EASY = Level(
    name="easy",
    shapes=("circle", "square", "triangle"),
    colours=("red", "yellow", "green", "blue", "purple", "cyan"),
    hats=("crown", "fez", "cap", "bow"),
    places=("day", "night", "sunset", "cloudy"),
    sizes=(WIDE, CLOSE),
    actions=(WALK_LEFT, WALK_RIGHT, JUMP),
)
LEVELS = {EASY.name: EASY}


@dataclasses.dataclass(frozen=True)
class ToyCharacter:
    name: str
    shape: str
    colour: str
    hat: str


@dataclasses.dataclass(frozen=True)
class ToyPlace:
    """kind: which sky, ground and prop (`captions.PLACE_WORDS`, `render.PLACES`)."""

    name: str
    kind: str


@dataclasses.dataclass(frozen=True)
class ToyShot:
    """One shot. `characters` are indices, the first acts and the others stand still.

    x: centre of each character's body at the start. travel: pixels the actor goes until the end, left, right or up by
    its action.
    """

    characters: tuple[int, ...]
    place: int
    size: str
    action: str
    x: tuple[float, ...]
    travel: float


@dataclasses.dataclass(frozen=True)
class ToyStory:
    """wording: seed of the choice among equivalent sentences."""

    seed: int
    split: str
    characters: tuple[ToyCharacter, ...]
    places: tuple[ToyPlace, ...]
    shots: tuple[ToyShot, ...]
    wording: int = 0

    def truth(self) -> dict[str, Any]:
        """All that is known of the story, as JSON values."""
        return dataclasses.asdict(self)


def from_truth(truth: Mapping[str, Any]) -> ToyStory:
    """The inverse of `ToyStory.truth`. Raises InputError where a field is missing or unknown."""
    try:
        shots = tuple(
            ToyShot(**{**shot, "characters": tuple(shot["characters"]), "x": tuple(shot["x"])})
            for shot in truth["shots"]
        )
        return ToyStory(
            **{
                **truth,
                "characters": tuple(ToyCharacter(**c) for c in truth["characters"]),
                "places": tuple(ToyPlace(**p) for p in truth["places"]),
                "shots": shots,
            }
        )
    except (KeyError, TypeError) as error:
        raise InputError(f"truth of a toy story: found {error}, expected the fields of ToyStory") from error


def body_side(size: str, figures: int) -> float:
    """Side of a body's square in pixels: two figures share a wide picture and are a little smaller."""
    if figures > 1:
        return 21.0
    return {WIDE: 25.0, CLOSE: 32.0}[size]


def feet(size: str) -> float:
    """Height of the feet in the picture, downwards."""
    return {WIDE: 57.0, CLOSE: 61.0}[size]


def ease(phase: float | int) -> float:
    """Smoothstep: at rest at both ends."""
    return phase * phase * (3.0 - 2.0 * phase)


def positions(shot: ToyShot, phase: float | int) -> tuple[tuple[float, float], ...]:
    """(x of the body's centre, y of the feet) of each named character, phase 0 (start frame) to 1 (end frame)."""
    gone = shot.travel * ease(phase)
    dx, dy = {WALK_LEFT: (-gone, 0.0), WALK_RIGHT: (gone, 0.0), JUMP: (0.0, -gone)}[shot.action]
    base = feet(shot.size)
    return tuple((x + dx, base + dy) if i == 0 else (x, base) for i, x in enumerate(shot.x))


def place_figures(
    rng: np.random.Generator, size: str, action: str, figures: int, actor_left: bool
) -> tuple[tuple[float, ...], float]:
    """(x of each figure at the start, actor first; travel) such that all stay inside the picture and apart."""
    side, middle = body_side(size, figures), SIDE / 2
    if figures == 1:
        if action == JUMP:
            return (middle + float(rng.integers(-4, 5)),), float(rng.integers(10, 13))
        travel = float(rng.integers(12, 21))
        centre = middle + float(rng.integers(-3, 4))
        return (centre + (travel if action == WALK_LEFT else -travel) / 2,), travel
    gap = 6.0 if action == JUMP else 3.0
    travel = float(rng.integers(10, 13))
    span = 0.0 if action == JUMP else travel
    total = 2 * side + gap + span
    left_edge = (SIDE - total) / 2 + float(rng.integers(-1, 2))
    # The actor owns its body and its way; the other stands beside that, on the actor's right or left.
    way = left_edge if actor_left else left_edge + side + gap
    other = left_edge + side + span + gap if actor_left else left_edge
    start = way + side / 2 + (span if action == WALK_LEFT else 0.0)
    return (start, other + side / 2), travel


def random_story(seed: int, level: Level = EASY, split: str = "train") -> ToyStory:
    """The story of a seed. Splits draw from disjoint streams; names say nothing about looks."""
    rng = np.random.default_rng([SPLITS[split], seed])

    def draw(options: tuple[str, ...], n: int) -> list[str]:
        return [options[i] for i in rng.permutation(len(options))[:n]]

    n_characters, n_places = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    looks = zip(
        draw(NAMES, n_characters),
        draw(level.shapes, n_characters),
        draw(level.colours, n_characters),
        [str(rng.choice(level.hats)) for _ in range(n_characters)],
        strict=True,
    )
    characters = tuple(ToyCharacter(*look) for look in looks)
    places = tuple(
        ToyPlace(*pair) for pair in zip(draw(PLACE_NAMES, n_places), draw(level.places, n_places), strict=True)
    )
    n_shots = int(rng.integers(level.shots[0], level.shots[1] + 1))
    where = _place_order(rng, n_shots, n_places)
    left_character = int(rng.integers(2))  # sides stay the same for a whole story, as the 180 degree rule asks
    # The first shots introduce one character each, alone; the others make up for them in the share of pairs.
    share = min(1.0, level.together * n_shots / max(1, n_shots - n_characters))
    shots = []
    for i in range(n_shots):
        if i < n_characters:
            named = (i,)
        elif n_characters == 2 and rng.random() < share:
            first = int(rng.integers(2))
            named = (first, 1 - first)
        else:
            named = (int(rng.integers(n_characters)),)
        size = WIDE if len(named) > 1 else str(rng.choice(level.sizes))
        action = str(rng.choice(level.actions))
        x, travel = place_figures(rng, size, action, len(named), actor_left=named[0] == left_character)
        shots.append(ToyShot(named, where[i], size, action, x, travel))
    return ToyStory(seed, split, characters, places, tuple(shots), wording=int(rng.integers(2**31)))


def _place_order(rng: np.random.Generator, n_shots: int, n_places: int) -> list[int]:
    """The place of each shot: starts at the first, changes now and then, visits every place."""
    order = [0]
    for _ in range(n_shots - 1):
        order.append((order[-1] + 1) % n_places if rng.random() < 0.35 else order[-1])
    if len(set(order)) < n_places:
        change = int(rng.integers(1, n_shots))
        order[change:] = [1] * (n_shots - change)
    return order


def interior_frames(story: ToyStory, shot_index: int, count: int = 2, frames: int = FRAMES) -> tuple[int, ...]:
    """Indices of `count` different frames strictly inside the clip of a shot, rising, from the story's seed."""
    rng = np.random.default_rng([STREAMS[story.split], story.seed, shot_index, INTERIOR_STREAM])
    return tuple(sorted(int(i) + 1 for i in rng.permutation(frames - 2)[:count]))
