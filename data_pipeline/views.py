"""Many stories out of one of few shots: its shots cut at several spans, seen through several windows, in several orders.

For films of so few shots that there is nothing else to learn from. All of it is our choice. Of a view

- every shot begins in the first quarter of what ingest has taken of it and ends in the last one, so that the caption of the
  shot still tells what its start and its end show; the frames of its clip are spread evenly between them;
- one window serves all shots: .8 to 1 of the largest of its proportions, off the middle by at most half of the room;
- the shots stand in any order.

The first view is the film as it is: whole spans, the window in the middle, its own order.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipeline import records
from data_pipeline.clips import seconds_of, shown_at
from data_pipeline.ingest.bars import without_bars
from data_pipeline.ingest.shots import ShotRecord
from stage_jax.errors import InputError
from stage_jax.story.pictures import covering_box
from stage_jax.story.types import Story, story_to_json

INTERIOR = 2  # frames of a clip that are also kept as stills, besides its first and last
EDGE = 0.25  # of a shot, in which a span begins, and in which it ends
SMALLEST = 0.8  # of a window's sides, of the largest that there is
Size = tuple[int, int]  # height and width


@dataclasses.dataclass(frozen=True)
class Window:
    """A part of a picture. scale: of its sides, of those of the largest of its proportions. x, y: where it stands in the room
    that is left, 0 (left, top) to 1."""

    scale: float = 1.0
    x: float = 0.5
    y: float = 0.5

    def of(self, picture: UInt8[np.ndarray, "h w 3"], size: Size) -> UInt8[np.ndarray, "height width 3"]:
        """What it shows of a picture, resized (Lanczos) to `size`; the whole middle is `fit_picture`."""
        h, w = picture.shape[:2]
        left, top, right, bottom = covering_box(h, w, *size)
        box_w, box_h = (right - left) * self.scale, (bottom - top) * self.scale
        left, top = (w - box_w) * self.x, (h - box_h) * self.y
        box = (left, top, left + box_w, top + box_h)
        return np.asarray(Image.fromarray(picture).resize(size[::-1], Image.Resampling.LANCZOS, box=box))


@dataclasses.dataclass(frozen=True)
class View:
    """order: the index of the shot that comes first, second and so on. spans: of each shot of the film, where it begins and
    ends, in parts of what ingest has taken of it."""

    order: tuple[int, ...]
    spans: tuple[tuple[float, float], ...]
    window: Window = Window()


def draw_views(shots: int, count: int, seed: int) -> list[View]:
    """`count` views of so many shots, the film as it is first."""
    rng = np.random.default_rng(seed)
    views = [View(tuple(range(shots)), ((0.0, 1.0),) * shots)]
    while len(views) < count:
        order = tuple(int(shot) for shot in rng.permutation(shots))
        spans = tuple((float(begin), float(1 - end)) for begin, end in rng.uniform(0, EDGE, (shots, 2)))
        x, y = rng.uniform(0.25, 0.75, 2)
        views.append(View(order, spans, Window(float(rng.uniform(SMALLEST, 1)), float(x), float(y))))
    return views


def read_views(
    film: Path, shots: Sequence[ShotRecord], views: Sequence[View], frames: int, size: Size
) -> UInt8[np.ndarray, "views shots frames height width 3"]:
    """The clips of every view, shots in the order of the film, which is decoded once, to the last of these shots. InputError as
    `clips.shown_at`."""
    clips = np.empty((len(views), len(shots), frames, *size, 3), np.uint8)
    parts = np.linspace(0, 1, frames)
    wanted = sorted(
        (shot.start_seconds + seconds_of(shot) * (begin + (end - begin) * float(part)), s, v, place)
        for v, view in enumerate(views)
        for s, (shot, (begin, end)) in enumerate(zip(shots, view.spans, strict=True))
        for place, part in enumerate(parts)
    )
    for places, frame in shown_at(film, [time for time, *_ in wanted]):
        picture = frame.rgb()
        for _, s, v, place in wanted[places]:
            clips[v, s, place] = views[v].window.of(without_bars(picture, shots[s].bars), size)
    return clips


def view_story(story: Story, order: Sequence[int]) -> Story:
    """The shots of a story in another order, each in a scene of its own."""
    shots = list(story.shots())
    scenes = [
        dataclasses.replace(scene, id=f"SC{place:02d}", shots=(shot,))
        for place, (scene, shot) in enumerate((shots[i] for i in order), 1)
    ]
    return dataclasses.replace(story, scenes=tuple(scenes))


def write_views(
    film: Path, story: Story, shots: Sequence[ShotRecord], out: Path, *, count: int, frames: int, size: Size, seed: int = 0
) -> None:
    """Records of `count` views of a story, all in the split "train", whole or not at all. shots: those of the story, of an
    ingest. Raises InputError as `records.write_records` and `read_views`."""
    if [record.name for record in shots] != (names := [story.shot_name(*shot) for shot in story.shots()]):
        raise InputError(f"{film}: found the shots {', '.join(s.name for s in shots)}, expected {', '.join(names)}")
    views = draw_views(len(shots), count, seed)
    clips = read_views(film, shots, views, frames, size)
    last = frames - 1
    moments = [0, last, *(round(last * (k + 1) / (INTERIOR + 1)) for k in range(INTERIOR))]
    examples = [
        records.Example(
            story=json.dumps(story_to_json(view_story(story, view.order))),
            truth="{}",
            split="train",
            source=f"{film.name}, view {number}",
            licence="of the film",
            frames=found[list(view.order)][:, moments].reshape(-1, *size, 3),
            clips=found[list(view.order)].reshape(-1, *size, 3),
            shots=len(shots),
        )
        for number, (view, found) in enumerate(zip(views, clips, strict=True))
    ]
    about = {"made_by": "views", "film": film.name, "views": count, "seed": seed}
    records.write_records(out, {"train": examples}, records.Shape(*size, INTERIOR, frames), about)
