"""Level easy is frozen: the shipped models were trained on these stories, words and pictures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pytest

from data_pipeline.toy_cinema import captions, render, world
from data_pipeline.toy_cinema.written import to_story
from stage_jax.story.types import story_to_json

# SHA-256 of what level easy gave when the shipped models were trained.
EXPECTED = json.loads((Path(__file__).parents[2] / "data" / "toy_cinema" / "easy.json").read_text())


def digest(parts: Iterable[bytes]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


@pytest.mark.parametrize("split", world.SPLITS)
def test_stories_and_pictures_have_not_changed_by_a_bit(split):
    stories = [world.random_story(seed, split=split) for seed in range(50)]
    shown = (
        render.render_frame(story, i, phase).tobytes()
        for story in stories[:8]
        for i in range(len(story.shots))
        for phase in (0.0, 0.375, 1.0)
    )
    assert {
        "truth": digest(json.dumps(story.truth()).encode() for story in stories),
        "story": digest(json.dumps(story_to_json(to_story(story))).encode() for story in stories),
        "frames": digest(shown),
    } == EXPECTED[split]


def test_the_vocabulary_has_not_changed():
    assert digest([json.dumps(captions.vocabulary()).encode()]) == EXPECTED["vocabulary"]
