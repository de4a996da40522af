"""Records of the toy world. Level `full` has, besides frames and clips, role masks, reference pictures and broken cuts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from data_pipeline.records import Example, Shape, write_records
from data_pipeline.toy_cinema import render as easy
from data_pipeline.toy_cinema import world
from data_pipeline.toy_cinema.full import pairs, render, stories
from data_pipeline.toy_cinema.full import world as full
from data_pipeline.toy_cinema.written import to_story
from stage_jax.errors import InputError
from stage_jax.story.types import story_to_json

LICENCE = "Apache-2.0"  # of the pictures
Progress = Callable[[int, int], None]


def toy_example(story: world.ToyStory, clips: bool, interior: int = 2, size: int = world.SIDE) -> Example:
    """The example of a story of level `easy`, pictures rendered."""
    frames, films = [], []
    for i in range(len(story.shots)):
        clip = easy.render_clip(story, i, world.FRAMES, size)
        frames.append(clip[[0, world.FRAMES - 1, *world.interior_frames(story, i, interior)]])
        films.append(clip)
    return Example(
        story=json.dumps(story_to_json(to_story(story))),
        truth=json.dumps(story.truth()),
        split=story.split,
        source=f"toy cinema, split {story.split}, seed {story.seed}",
        licence=LICENCE,
        frames=np.concatenate(frames),
        clips=np.concatenate(films) if clips else np.zeros((0, size, size, 3), np.uint8),
        shots=len(story.shots),
    )


def full_example(story: full.FullStory, clips: bool, interior: int = 2, size: int = world.SIDE) -> Example:
    """The example of a story of level `full`. Its rejected pairs break cuts; the interior frames are among the frames."""
    frames, masks, films = [], [], []
    last = world.FRAMES - 1
    for i, shot in enumerate(story.shots):
        kept = (0, last, *stories.interior_frames(story, i, interior))
        masks += [render.role_mask(story, i, k / last, size) for k in kept]
        if clips:
            films.append(render.render_clip(story, i, world.FRAMES, size))
            frames.append(films[-1][list(kept)])
        else:
            frames.append(np.stack([render.render_shot(story, shot, k / last, size) for k in kept]))
    cuts = pairs.broken_cuts(story)
    none = np.zeros((0, size, size, 3), np.uint8)
    return Example(
        story=json.dumps(story_to_json(to_story(story))),
        truth=json.dumps(story.truth()),
        split=story.split,
        source=f"toy cinema, level {full.NAME}, split {story.split}, seed {story.seed}",
        licence=LICENCE,
        frames=np.concatenate(frames),
        clips=np.concatenate(films) if clips else none,
        shots=len(story.shots),
        preferences=json.dumps([{"shot": i, "why": kind} for i, kind in cuts]),
        rejected=np.concatenate([none, *(pairs.broken_pair(story, i, size) for i, _ in cuts)]),
        references=np.stack([render.reference(character, size) for character in story.characters]),
        masks=np.stack(masks),
    )


def write_toy_records(
    out_dir: str | Path,
    counts: Mapping[str, int],
    level: str = world.EASY.name,
    seed: int = 0,
    clips: bool = True,
    progress: Progress | None = None,
    interior: int = 2,
    size: int = world.SIDE,
) -> None:
    """Draws and writes `counts[split]` stories of each split, of the numbers `seed`, `seed` + 1, ...

    level: `easy` or `full`. progress: called with (stories written, stories in all). Raises InputError on a split that is
    unknown or empty.
    """
    for split, n in counts.items():
        if split not in world.SPLITS or n < 1:
            raise InputError(f"toy records: found {n} stories for split {split!r}, expected 1 or more for one of "
                             f"{', '.join(world.SPLITS)}")  # fmt: skip
    total, done = sum(counts.values()), 0

    def examples(split: str, n: int) -> Iterator[Example]:
        nonlocal done
        for number in range(seed, seed + n):
            if level == full.NAME:
                yield full_example(stories.random_story(number, split), clips, interior, size)
            else:
                yield toy_example(world.random_story(number, world.LEVELS[level], split), clips, interior, size)
            done += 1
            if progress:
                progress(done, total)

    shape = Shape(size, size, interior, world.FRAMES if clips else 0)
    about = {"made_by": "toy_cinema", "level": level, "seed": seed, "fps": world.FPS}
    write_records(out_dir, {split: examples(split, n) for split, n in counts.items()}, shape, about)
