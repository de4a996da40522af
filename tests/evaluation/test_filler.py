"""The filler's figures, from fillers that are exactly known."""

from __future__ import annotations

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.evaluation.filler import cross_fade, filler_figures, moves
from stage_jax.evaluation.held_out import shot_seed
from stage_jax.story.board import Pair
from tests.evaluation.oracles import patch_codec, story


@pytest.fixture(scope="module")
def held():
    return story(1, clips=True).first(2)


def _figures(held, filler) -> dict[str, float]:
    figures, strips = filler_figures(filler, patch_codec(), [held], batch=3, strips=1)
    assert len(strips) == 1 and strips[0].filler.shape == strips[0].true.shape == (17, 64, 64, 3)
    return {f.name: f.value for f in figures}


def test_a_cross_fade_goes_from_one_picture_to_the_other():
    pair = Pair(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 160, np.uint8))
    assert cross_fade(pair, 17)[:, 0, 0, 0].tolist() == [10 * i for i in range(17)]


def test_true_clips_are_at_the_ceiling_and_move(held):
    clips = {shot_seed(0, held.index, i): held.clips[i] for i in range(2)}
    found = _figures(held, lambda pairs, captions, seeds: np.stack([clips[seed] for seed in seeds]))
    for end in ("first", "last"):
        assert found[f"filler: {end} frame to the given picture: filler"] == 100
        assert found[f"filler: {end} frame to the given picture: filler - VAE of the pair"] == 0
    assert found["filler: position error of inner frames: filler"] < 0.5
    assert found["filler: position error of inner frames: cross-fade"] > 1.5
    assert found["filler: position error of inner frames: filler / cross-fade"] < 0.25
    assert found["filler: position error of inner frames: filler / first frame"] < 0.25


def test_a_cross_fade_is_as_good_as_itself(held):
    def fade(pairs, captions, seeds):
        assert len(pairs) == len(captions) == len(seeds) == 3  # one size, filled up
        return np.stack([cross_fade(pair, 17) for pair in pairs])

    assert _figures(held, fade)["filler: position error of inner frames: filler / cross-fade"] == 1


def test_a_first_frame_that_stands_still_is_as_good_as_itself(held):
    found = _figures(held, lambda pairs, *_: np.stack([np.broadcast_to(pair.start, (17, 64, 64, 3)) for pair in pairs]))
    assert found["filler: position error of inner frames: filler / first frame"] == 1
    assert found["filler: position error of inner frames: first frame repeated"] > 4


def test_all_shots_of_the_easy_world_move(held):
    assert all(moves(held.toy, i) >= 10 for i in range(2))


def test_records_without_clips_are_refused():
    with pytest.raises(InputError, match="without clips"):
        filler_figures(lambda *_: None, patch_codec(), [story(1)])
