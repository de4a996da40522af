"""What STEP2 reads of a shot."""

from __future__ import annotations

import pytest

from stage_jax.errors import InputError
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.recipes.step2_text import story_texts
from stage_jax.story.types import Scene, Shot, Story
from stage_jax.weights.config_types import read_config

FIRST = Shot("SH010", "Mia runs.", size="wide shot", movement="pan left", seconds=2.75275)
STORY = Story("t", fps=23.976, scenes=(Scene("SC01", shots=(FIRST,)), Scene("SC02", shots=(Shot("SH010", "Tom waits."),))))


def test_plain_texts_are_the_descriptions():
    assert story_texts(STORY, TINY) == ["Mia runs.", "Tom waits."]


def test_camera_time_and_the_shot_before():
    """2.75275 seconds at 23.976 frames a second are 66 frames, as in the release's sample."""
    everything = STEP2Config(attributes=True, timing=True, previous_text=True)
    assert story_texts(STORY, everything) == [
        "Mia runs. Camera: size: wide shot, movement: pan left. Seconds: 2.75275. Frames: 66.",
        "Previous shot: Mia runs. Current shot: Tom waits. Seconds: 2. Frames: 48.",
    ]


def test_a_recipe_is_read_from_json_or_refused():
    assert read_config({"layout": "stacked", "slots": 3}, "model.json", STEP2Config) == STEP2Config(layout="stacked", slots=3)
    for said in ({"layout": "tiled"}, {"packing": "paper", "slots": 0}, {"memory_noise": 1.0}, {"frames": 2}):
        with pytest.raises(InputError, match="^model.json"):
            read_config(said, "model.json", STEP2Config)
