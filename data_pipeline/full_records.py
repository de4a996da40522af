"""Records of the toy world's level `full`: besides frames and clips, role masks, reference pictures and broken cuts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from data_pipeline.records import LICENCE, Example, Progress, Shape, write_drawn_records
from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.full import pairs, render, stories, world
from stage_jax.story.types import story_to_json


def full_example(story: world.FullStory, clips: bool, interior: int = 2, size: int = lengths.SIDE) -> Example:
    """The example of a story. Its rejected pairs break cuts; the interior frames are among the frames."""
    frames, masks, films = [], [], []
    last = lengths.FRAMES - 1
    for i, shot in enumerate(story.shots):
        kept = (0, last, *stories.interior_frames(story, i, interior))
        masks += [render.role_mask(story, i, k / last, size) for k in kept]
        if clips:
            films.append(render.render_clip(story, i, lengths.FRAMES, size))
            frames.append(films[-1][list(kept)])
        else:
            frames.append(np.stack([render.render_shot(story, shot, k / last, size) for k in kept]))
    cuts = pairs.broken_cuts(story)
    none = np.zeros((0, size, size, 3), np.uint8)
    return Example(
        story=json.dumps(story_to_json(story.to_story())),
        truth=json.dumps(story.truth()),
        split=story.split,
        source=f"toy cinema, level {world.NAME}, split {story.split}, seed {story.seed}",
        licence=LICENCE,
        frames=np.concatenate(frames),
        clips=np.concatenate(films) if clips else none,
        shots=len(story.shots),
        preferences=json.dumps([{"shot": i, "why": kind} for i, kind in cuts]),
        rejected=np.concatenate([none, *(pairs.broken_pair(story, i, size) for i, _ in cuts)]),
        references=np.stack([render.reference(character, size) for character in story.characters]),
        masks=np.stack(masks),
    )


def write_full_records(
    out_dir: str | Path,
    counts: Mapping[str, int],
    seed: int = 0,
    clips: bool = True,
    progress: Progress | None = None,
    interior: int = 2,
    size: int = lengths.SIDE,
) -> None:
    """Draws and writes stories of level `full`, as `write_drawn_records` does."""
    write_drawn_records(
        out_dir,
        counts,
        lambda number, split: full_example(stories.random_story(number, split), clips, interior, size),
        Shape(size, size, interior, lengths.FRAMES if clips else 0),
        {"made_by": "toy_cinema", "level": world.NAME, "seed": seed, "fps": lengths.FPS},
        progress,
    )
