"""Held-out toy stories with everything that is known of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from data_pipeline.records import RecordSource
from data_pipeline.toy_cinema import render, world
from stage_jax.errors import InputError
from stage_jax.evaluation.levels import Level, level_named
from stage_jax.evaluation.levels import Story as ToyStory
from stage_jax.story.types import Scene, Shot, Story, story_from_json

Progress = Callable[[str, int, int], None]  # label, done, total
EMPTY = "{}"  # the truth of a record of which nothing is known
LONG = 10_000_000  # where the seeds of long stories begin, beyond those of records


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """A story, its truth and its pictures. index: its place in the split, on which its random streams hang.

    stills: of each shot the start, the end and the interior frames. clips: no frames if the records hold none.
    """

    index: int
    story: Story
    toy: ToyStory
    stills: UInt8[np.ndarray, "shots kept h w 3"]
    clips: UInt8[np.ndarray, "shots frames h w 3"]

    @property
    def pairs(self) -> UInt8[np.ndarray, "shots 2 h w 3"]:
        return self.stills[:, :2]

    @property
    def shots(self) -> list[tuple[Scene, Shot]]:
        """The shots of the truth, with their scenes."""
        return list(self.story.shots())[: len(self.toy.shots)]

    def first(self, count: int) -> HeldOut:
        """The story's first shots alone."""
        toy = dataclasses.replace(self.toy, shots=self.toy.shots[:count])
        return dataclasses.replace(self, toy=toy, stills=self.stills[:count], clips=self.clips[:count])

    def phases(self, shot: int) -> tuple[float, ...]:
        """The phase of each kept still of a shot, 0 (start) to 1 (end)."""
        inside = world.interior_frames(self.toy, shot, self.stills.shape[1] - 2)
        return (0.0, 1.0, *(i / (world.FRAMES - 1) for i in inside))


def held_out(records: RecordSource, count: int, shots: int = 1) -> list[HeldOut]:
    """The first `count` stories of a split that have at least `shots` shots.

    If the records hold too few, further ones of the same split and seeds are drawn, as the records themselves were.
    InputError on records that are no toy stories.
    """
    found = []
    for index, record in enumerate(_endless(records)):
        if len(found) == count:
            break
        if record["truth"] == EMPTY:
            raise InputError(f"{records.directory}: story {index} has no truth, expected records of `stage data toy`")
        if record["shots"] >= shots:
            found.append(_held(index, record, level_of_records(records), f"{records.directory}, story {index}"))
    return found


def long_stories(records: RecordSource, count: int, shots: int) -> list[HeldOut]:
    """`count` stories of exactly so many shots, which the level's own need not have; of the same split, without clips."""
    level, about, shape = level_of_records(records), records.metadata["about"], records.metadata
    found = []
    for index in range(count):
        story = level.draw(about["seed"] + LONG + index, records.split, shots)
        example = level.example(story, False, shape["interior"], shape["height"])
        record = {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}
        found.append(_held(LONG + index, record, level, f"story {index} of {shots} shots"))
    return found


def level_of_records(records: RecordSource) -> Level:
    """InputError on records that are no toy stories."""
    return level_named(records.metadata["about"].get("level", "none"), records.directory)


def _held(index: int, record: Mapping[str, Any], level: Level, where: str) -> HeldOut:
    n, size = record["shots"], record["frames"].shape[1:]
    return HeldOut(
        index,
        story_from_json(json.loads(record["story"]), where),
        level.from_truth(json.loads(record["truth"])),
        record["frames"].reshape(n, -1, *size),
        record["clips"].reshape(n, len(record["clips"]) // n, *size),
    )


def _endless(records: RecordSource) -> Iterator[Mapping[str, Any]]:
    """The records, then what would stand after them."""
    yield from records
    about, shape = records.metadata["about"], records.metadata
    level = level_of_records(records)
    index = len(records)
    while True:
        story = level.draw(about["seed"] + index, records.split, None)
        example = level.example(story, bool(shape["clip_frames"]), shape["interior"], shape["height"])
        yield {field.name: getattr(example, field.name) for field in dataclasses.fields(example)}
        index += 1


def shot_seed(seed: int, story: int, shot: int) -> int:
    """The seed of one shot's noise; every story has its own."""
    return int(np.random.SeedSequence([seed, story, shot]).generate_state(1)[0])


def figures_mask(toy: world.ToyStory, shot: int, phase: float | int, size: int) -> Bool[np.ndarray, "size size"]:
    """Where a frame shows a figure."""
    return render.figure_masks(render.scene_spec(toy, shot, phase), size).any(0)
