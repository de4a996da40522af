"""Records of level full: what was drawn comes back, with masks, references and broken cuts."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_pipeline.records import Shape, open_records, write_records
from data_pipeline.toy_cinema.full import pairs, render, stories, world
from data_pipeline.toy_cinema.written import to_story
from data_pipeline.toy_records import full_example, write_toy_records
from stage_jax.story.types import story_from_json

SIZE, SEED = 32, 23  # the story of this seed goes on over a cut


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("records") / "full"
    seen = []
    write_toy_records(
        out, {"train": 2, "test": 1}, "full", seed=SEED, size=SIZE, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    return out


def test_examples_come_back_as_they_were_drawn(folder):
    source = open_records(folder, "train")
    assert source.metadata["about"]["level"] == "full"
    for i in range(2):
        item, story = source[i], stories.random_story(SEED + i)
        assert world.from_truth(json.loads(item["truth"])) == story
        assert story_from_json(json.loads(item["story"]), "record") == to_story(story)
        n = len(story.shots)
        frames = item["frames"].reshape(n, 4, SIZE, SIZE, 3)
        clips = item["clips"].reshape(n, 17, SIZE, SIZE, 3)
        masks = item["masks"].reshape(n, 4, SIZE, SIZE)
        for k in (0, n - 1):
            kept = [0, 16, *stories.interior_frames(story, k)]
            np.testing.assert_array_equal(frames[k], clips[k][kept])
            np.testing.assert_array_equal(clips[k], render.render_clip(story, k, size=SIZE))
            np.testing.assert_array_equal(masks[k], [render.role_mask(story, k, f / 16, SIZE) for f in kept])
        np.testing.assert_array_equal(item["references"], [render.reference(c, SIZE) for c in story.characters])


def test_preferences_name_the_shots_whose_broken_pair_they_hold(folder):
    item, story = open_records(folder, "train")[0], stories.random_story(SEED)
    told = json.loads(item["preferences"])
    assert [(p["shot"], p["why"]) for p in told] == list(pairs.broken_cuts(story)) != []
    for k, preference in enumerate(told):
        broken = pairs.broken_pair(story, preference["shot"], SIZE)
        np.testing.assert_array_equal(item["rejected"][2 * k : 2 * k + 2], broken)
        true = item["frames"].reshape(-1, 4, SIZE, SIZE, 3)[preference["shot"], :2]
        assert (broken != true).any()


def test_without_clips_the_frames_are_the_same():
    story = stories.random_story(5)
    with_clips, without = (full_example(story, clips, size=SIZE) for clips in (True, False))
    np.testing.assert_array_equal(with_clips.frames, without.frames)
    assert without.clips.shape == (0, SIZE, SIZE, 3)


def test_stories_without_masks_and_references_have_none(tmp_path):
    example = full_example(stories.random_story(0), clips=False, size=SIZE)
    bare = type(example)(**{n: getattr(example, n) for n in (
        "story", "truth", "split", "source", "licence", "frames", "clips", "shots")})  # fmt: skip
    write_records(tmp_path / "r", {"train": [bare]}, Shape(SIZE, SIZE, 2, 0), {})
    item = open_records(tmp_path / "r", "train")[0]
    assert (item["masks"].shape, item["references"].shape) == ((0, SIZE, SIZE), (0, SIZE, SIZE, 3))
