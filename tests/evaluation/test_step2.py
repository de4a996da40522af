"""Boards by exact samplers: what they are shown, and that a perfect one reaches the ceiling."""

from __future__ import annotations

import numpy as np
import pytest

from stage_jax.evaluation.held_out import shot_seed
from stage_jax.evaluation.history import elsewhere, examples, memory_of, no_memory, true_histories
from stage_jax.evaluation.memory_gain import ARMS, SIGMAS, Losses, arm_memory, loss_figures
from stage_jax.evaluation.step2 import attribute_figures, history_figures, read_boards, roll_out, rollout_figures
from tests.evaluation.oracles import CHANNELS, patch_codec, story

SHAPE = (CHANNELS, 8, 8)


@pytest.fixture(scope="module")
def stories():
    return [story(seed).first(3) for seed in (1, 2, 5)]


@pytest.fixture(scope="module")
def histories(stories):
    return true_histories(patch_codec(), stories)


class Perfect:
    """Knows every pair by its seed, and notes what it was shown."""

    def __init__(self, histories):
        self.pairs = {shot_seed(0, histories[s].held.index, i): histories[s].pair(i) for s, i in examples(histories)}
        self.calls = []

    def __call__(self, captions, memory, seeds):
        self.calls.append((tuple(captions), np.asarray(memory.valid), np.asarray(memory.latents), tuple(seeds)))
        return np.stack([self.pairs[seed] for seed in seeds])


class Noise(Perfect):
    def __call__(self, captions, memory, seeds):
        pairs = super().__call__(captions, memory, seeds)
        return np.stack([np.random.default_rng(s).random(p.shape, np.float32) for s, p in zip(seeds, pairs, strict=True)])


def test_a_pack_sees_earlier_frames_only(histories):
    for history in histories:
        assert history.packs[0] == ()
        for i, pack in enumerate(history.packs[1:], 1):
            assert pack[0].frame == 2 * i - 1 and max(slot.frame for slot in pack) < 2 * i


def _frames_in(memory, bank) -> np.ndarray:
    """For each valid slot, whether its latent is one of the bank's."""
    latents = np.asarray(memory.latents)[np.asarray(memory.valid)]
    return np.array([(latent == bank).all((1, 2, 3)).any() for latent in latents])


def test_wrong_memory_is_another_storys(histories):
    for example in examples(histories, first_shot=1):
        other, shot = elsewhere(histories, example)
        assert other != example[0] and shot == example[1]
        own, theirs = histories[example[0]].bank.latents, histories[other].bank.latents
        wrong, true = (arm_memory(histories, [example], arm) for arm in (ARMS[2], ARMS[0]))
        assert _frames_in(wrong, theirs).all() and not _frames_in(wrong, own).any()
        assert _frames_in(true, own).all()
        none = arm_memory(histories, [example], ARMS[1])
        assert not np.asarray(none.valid).any() and none.latents.shape == true.latents.shape


def test_wrong_memory_of_stories_of_different_length(stories):
    codec = patch_codec()
    mixed = true_histories(codec, [stories[0], stories[1].first(2), stories[2]])
    assert elsewhere(mixed, (0, 2)) == (2, 2) and elsewhere(mixed, (0, 1)) == (1, 1)
    assert elsewhere(mixed[:2], (0, 2)) == (1, 1)
    with pytest.raises(ValueError, match="two or more"):
        elsewhere(mixed[:1], (0, 1))


def test_a_perfect_sampler_reaches_the_ceiling(histories):
    figures, boards = history_figures(Perfect(histories), patch_codec(), histories)
    for found, history in zip(boards["true history"], histories, strict=True):
        np.testing.assert_array_equal(found, history.held.pairs)
    assert {f.measure for f in figures} == {"true history", "memory off"}
    for figure in figures:
        assert figure.value == figure.ceiling == figure.ceiling_pictures and figure.stories <= len(histories)
        assert figure.value < 0.5 if figure.what == "position" else figure.value == 1.0
    chances = {f.what: f.chance for f in figures}
    assert chances == {"colour": 1 / 6, "shape": 1 / 3, "hat": 1 / 4, "place": 1 / 4, "position": None}


def test_memory_off_is_off_and_the_noise_the_same(histories):
    sampler = Perfect(histories)
    history_figures(sampler, patch_codec(), histories)
    on, off = sampler.calls
    assert on[0] == off[0] and on[3] == off[3]
    assert on[1].any() and not off[1].any() and not off[2].any()
    assert len(on[0]) == 50  # one size, filled up


def test_what_captions_tell_does_not_count(histories):
    stories = [history.held for history in histories]
    read = read_boards(stories, [held.pairs for held in stories])
    counted = {f.what: f.n for f in attribute_figures("m", read)}
    seen = [(h, i, c) for h in stories for i, shot in enumerate(h.toy.shots) for c in shot.characters]
    again = [(h, i, c) for h, i, c in seen if any(c in earlier.characters for earlier in h.toy.shots[:i])]
    assert counted["colour"] == counted["hat"] == 2 * len(again)
    by_shot = [f.n for i in (1, 2) for f in attribute_figures("m", read, shot=i) if f.what == "colour"]
    assert sum(by_shot) == counted["colour"]


def test_a_rollout_remembers_what_it_drew_itself(stories, histories):
    sampler = Noise(histories)
    boards = roll_out(sampler, patch_codec(), stories, SHAPE, batch=2)
    assert len(boards) == 3 and all(board.shape == (3, 2, 64, 64, 3) for board in boards)
    assert [len(call[0]) for call in sampler.calls] == [2] * 6  # two groups of three shots
    first, second = sampler.calls[:2]
    assert not first[1].any() and second[1].any(1).all()
    drawn = np.stack([np.random.default_rng(seed).random((2, *SHAPE), np.float32) for seed in first[3]])
    np.testing.assert_array_equal(second[2][:, 0], drawn[:, 1])  # the previous end frame
    one, *_ = roll_out(Noise(histories), patch_codec(), stories[:1], SHAPE, batch=2)
    np.testing.assert_array_equal(one, boards[0])


def test_a_perfect_rollout_reaches_the_ceiling(stories, histories):
    figures, _ = rollout_figures(Perfect(histories), patch_codec(), stories, SHAPE)
    assert {f.measure for f in figures} == {"own rollout", "own rollout, shot 2", "own rollout, shot 3"}
    assert all(f.value == f.ceiling for f in figures)
    with pytest.raises(ValueError, match="one length"):
        roll_out(Perfect(histories), patch_codec(), [stories[0], stories[1].first(2)], SHAPE)


def test_the_gain_of_memory():
    values = np.zeros((3, len(SIGMAS), 4))
    values[0], values[1], values[2] = 0.2, 0.8, 1.6
    figures = {f.name: f.value for f in loss_figures(Losses(values, np.array([0, 0, 1, 1])))}
    assert figures["step2: velocity loss at sigma 0.95: gain of memory"] == pytest.approx(0.75)
    assert figures["step2: velocity loss at sigma 0.95: another story's / none"] == pytest.approx(2)
    assert figures["step2: velocity loss at sigma 0.5: true memory"] == pytest.approx(0.2)


def test_no_memory_keeps_the_shape(histories):
    memory = memory_of(histories, [(0, 2), (1, 1)])
    none = no_memory(memory)
    assert [np.asarray(a).shape for a in (none.latents, none.valid, none.hints)] == [
        np.asarray(a).shape for a in (memory.latents, memory.valid, memory.hints)
    ]
