"""Draws stories of level `full` from a seed: who, where, which shots, such that everybody stays inside the picture."""

from __future__ import annotations

import dataclasses
import json
import zlib

import numpy as np

from data_pipeline.toy_cinema import world as streams
from data_pipeline.toy_cinema.full import world
from data_pipeline.toy_cinema.full.world import FullPlace, FullShot, FullStory, ToyCharacter

LEVEL_STREAM = 11  # tells the random streams from those of level `easy`
SHOTS = (3, 12)
MOST_CHARACTERS, MOST_PLACES = 3, 3
TOGETHER = 0.4  # share of the shots that show two characters, once two are known
GOES_ON = 0.6  # share of the shots that go on with an action, where the shot before leaves one open
RETURNS = 2  # times at most that a story comes back to an earlier place
TRIES = 60  # at positions for a camera move and an action
EDGE = 0.5  # pixels between a figure and the border of the picture
GAP = 2.0  # pixels between two figures
PHASES = (1.0, 0.0, 0.5, 0.25, 0.75, 0.125, 0.375, 0.625, 0.875)  # where that is looked at, the likely trouble first
WIDTH, HEIGHT = 0.55, 1.5  # half the width and the height of a figure with its hat, of its side
WALK, LEAP = (10, 16), (7, 10)  # pixels
# Residues modulo 10 of what a story's cast and places hash to.
SHARES = {"train": range(8), "validation": range(8, 9), "test": range(9, 10)}


def split_of(characters: tuple[ToyCharacter, ...], places: tuple[FullPlace, ...]) -> str:
    """The one split whose stories may have this cast at these places."""
    text = json.dumps([dataclasses.astuple(entry) for entry in (*characters, *places)])
    residue = zlib.crc32(text.encode()) % 10
    return next(split for split, share in SHARES.items() if residue in share)


def random_story(seed: int, split: str = "train") -> FullStory:
    """The story of a seed. No two splits share a cast at its places; names say nothing about looks."""
    rng = np.random.default_rng([streams.SPLITS[split], seed, LEVEL_STREAM])
    characters, places = _cast(rng)
    while split_of(characters, places) != split:
        characters, places = _cast(rng)
    n_shots = int(rng.integers(SHOTS[0], SHOTS[1] + 1))
    places = places[:n_shots]
    where = _place_order(rng, n_shots, len(places))
    rank = rng.permutation(len(characters))  # from left to right, for the whole story, as the 180 degree rule asks
    shots: list[FullShot] = []
    for i, place in enumerate(where):
        shot = _going_on(rng, shots[-1], rank) if i >= len(characters) and where[i - 1] == place else None
        shots.append(shot or _new_shot(rng, i, place, rank))
    return FullStory(seed, split, characters, places, tuple(shots), wording=int(rng.integers(2**31)))


def _cast(rng: np.random.Generator) -> tuple[tuple[ToyCharacter, ...], tuple[FullPlace, ...]]:
    """Characters that differ in name, shape and colour, and places that differ in name, sky, ground and prop."""

    def draw(options: tuple[str, ...], n: int) -> list[str]:
        return [options[i] for i in rng.permutation(len(options))[:n]]

    n = int(rng.integers(1, MOST_CHARACTERS + 1))
    hats = [world.HATS[i] for i in rng.integers(len(world.HATS), size=n)]
    looks = zip(draw(world.NAMES, n), draw(world.SHAPES, n), draw(world.COLOURS, n), hats, strict=True)
    n = int(rng.integers(1, MOST_PLACES + 1))
    kinds = (world.PLACE_NAMES, world.SKIES, world.GROUNDS, world.PROPS)
    places = zip(*(draw(kind, n) for kind in kinds), strict=True)
    return tuple(ToyCharacter(*look) for look in looks), tuple(FullPlace(*place) for place in places)


def _place_order(rng: np.random.Generator, n_shots: int, n_places: int) -> list[int]:
    """The place of each shot: every place in its turn, then perhaps some of them again."""
    again = int(rng.integers(0, RETURNS + 1)) if n_places > 1 else 0
    blocks = list(range(n_places))
    for _ in range(min(again, n_shots - n_places)):
        blocks.append(int(rng.choice([p for p in range(n_places) if p != blocks[-1]])))
    starts = {0, *(int(i) + 1 for i in rng.permutation(n_shots - 1)[: len(blocks) - 1])}
    order, block = [], -1
    for i in range(n_shots):
        block += i in starts
        order.append(blocks[block])
    return order


def fits(shot: FullShot) -> bool:
    """Whether everybody stays inside the picture, and two apart, from the start of the shot to its end."""
    for phase in PHASES:
        figures = world.shown_figures(shot, phase)
        for x, y, side in figures:
            half = WIDTH * side + EDGE
            if not (half <= x <= streams.SIDE - half and y - HEIGHT * side >= EDGE and y <= streams.SIDE - EDGE):
                return False
        if len(figures) == 2 and abs(figures[0][0] - figures[1][0]) < 2 * WIDTH * figures[0][2] + GAP:
            return False
    return True


def _new_shot(rng: np.random.Generator, i: int, place: int, rank: np.ndarray) -> FullShot:
    """A shot that goes on with nothing; the first ones introduce one character each."""
    if i < len(rank):
        named = (i,)
    elif len(rank) > 1 and rng.random() < TOGETHER:
        named = tuple(int(c) for c in rng.permutation(len(rank))[:2])
    else:
        named = (int(rng.integers(len(rank))),)
    while True:  # some move for two of them always finds room
        camera, first = str(rng.choice(world.CAMERAS)), str(rng.choice(world.ACTIONS))
        for _ in range(TRIES):
            actions = (first, *(str(rng.choice(world.ACTIONS)) for _ in named[1:]))
            shot = _attempt(rng, named, place, camera, actions, rank)
            if fits(shot):
                return shot


def _going_on(rng: np.random.Generator, previous: FullShot, rank: np.ndarray) -> FullShot | None:
    """A shot at the same place in which the first character goes on with what it did; None if it does not come to that.

    Its other way round fits the picture too, so that the broken cut can be drawn.
    """
    action = world.GOES_ON.get(previous.actions[0])
    if action is None or rng.random() >= GOES_ON:
        return None
    camera = str(rng.choice(world.CAMERAS))
    for _ in range(TRIES):
        shot = _attempt(rng, (previous.characters[0],), place=previous.place, camera=camera, actions=(action,), rank=rank)
        if action == world.LAND:  # down from the height where the shot before ended
            fall = previous.travel[0] / world.ZOOMS[previous.size] * world.ZOOMS[shot.size]
            shot = dataclasses.replace(shot, travel=(fall,))
        shot = dataclasses.replace(shot, goes_on=True)
        if fits(shot) and fits(world.backwards(shot)):
            return shot
    return None


def _attempt(
    rng: np.random.Generator, named: tuple[int, ...], place: int, camera: str, actions: tuple[str, ...], rank: np.ndarray
) -> FullShot:
    """Positions and travels at random; they may not fit."""
    sizes = world.SIZES if len(named) == 1 else (world.WIDE, world.MEDIUM)
    reach = {world.STAND: (0, 0), world.JUMP: LEAP, world.LAND: LEAP}
    travel = tuple(float(rng.integers(low, high + 1)) for low, high in (reach.get(a, WALK) for a in actions))
    if len(named) == 1:
        x = (float(rng.integers(14, 51)),)
    else:
        sides = (float(rng.integers(12, 31)), float(rng.integers(34, 53)))
        x = sides if rank[named[0]] < rank[named[1]] else sides[::-1]
    return FullShot(named, place, str(rng.choice(sizes)), camera, actions, x, travel)


def interior_frames(story: FullStory, shot_index: int, count: int = 2, frames: int = streams.FRAMES) -> tuple[int, ...]:
    """Indices of `count` different frames strictly inside the clip of a shot, rising, from the story's seed."""
    rng = np.random.default_rng([streams.STREAMS[story.split], story.seed, LEVEL_STREAM, shot_index])
    return tuple(sorted(int(i) + 1 for i in rng.permutation(frames - 2)[:count]))
