"""Examples for STEP2 and the filler: the right shot, its caption, and a history that ends before it."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.cache import Latents, Pictures, Texts
from data_pipeline.shots import ShotSource, clip_examples, pair_examples
from stage_jax.errors import InputError
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.recipes.memory import HINTS, bank_frames, pack
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.story.types import Character, Location, Scene, Shot, Story

WORDS = ("one", "two", "three", "four", "five")
SLOTS, KEEP = 3, {"caption": 0.0, "history": 0.0, "pair": 0.0}


def story(words: tuple[str, ...]) -> Story:
    shots = tuple(Shot(f"SH0{i}0", word, characters=("mia",) * (i % 2)) for i, word in enumerate(words, start=1))
    scenes = (Scene("SC01", location="a", shots=shots[:2]), Scene("SC02", location="b", shots=shots[2:]))
    return Story("t", characters=(Character("mia", "Mia"),), locations=(Location("a", "A"), Location("b", "B")), scenes=scenes)


@pytest.fixture(scope="module")
def source() -> ShotSource:
    """Two stories, 3 and 5 shots; the latents of shot k of all are 2 k (start) and 2 k + 1 (end)."""
    stories = (story(WORDS[:3]), story(WORDS))
    latents = np.broadcast_to(np.arange(16, dtype=np.float16).reshape(8, 2, 1, 1, 1), (8, 2, 1, 2, 2))
    return ShotSource(Latents(stories, (0, 3), latents), WordTokenizer(WORDS, 3))


def drawn(source: ShotSource, count: int = 400, **dropout: float) -> list[dict]:
    dataset = pair_examples(source, SLOTS, KEEP | dropout, seed=0)
    return [dataset[i] for i in range(count)]


def place(example: dict) -> int:
    """Which of the eight shots it is."""
    return int(example["pair"][0, 0, 0, 0]) // 2


@pytest.mark.smoke
def test_caption_pair_and_history_belong_together(source: ShotSource):
    for example in drawn(source, 40):
        row = place(example)
        which, first = (0, 0) if row < 3 else (1, 3)
        shots, index = source.shots[which], row - first
        np.testing.assert_array_equal(example["ids"], [2 + WORDS.index(shots[index][1].description), 1, 0])
        np.testing.assert_array_equal(example["mask"], [1, 1, 0])
        chosen = pack(bank_frames(shots[:index]), shots[index][1].characters, shots[index][0].location, TINY, SLOTS)
        seen = example["memory_latents"][example["memory_valid"]][:, 0, 0, 0]
        np.testing.assert_array_equal(seen, [2 * first + slot.frame for slot in chosen])
        hints = [slot.hints for slot in chosen] + [(0.0,) * HINTS] * (SLOTS - len(chosen))
        np.testing.assert_array_equal(example["memory_hints"], hints)
    assert {place(e) for e in drawn(source, 40)} == set(range(8))


@pytest.mark.parametrize("dropout", [{}, {"pair": 0.5}, {"history": 0.3, "pair": 0.3, "caption": 0.3}])
def test_no_later_shot_and_no_other_story_is_seen(source: ShotSource, dropout: dict):
    for example in drawn(source, **dropout):
        row = place(example)
        seen = example["memory_latents"][example["memory_valid"]][:, 0, 0, 0]
        assert ((seen >= (0 if row < 3 else 6)) & (seen < 2 * row)).all()
        assert not example["memory_latents"][~example["memory_valid"]].any()
        assert not (np.diff(example["memory_valid"].astype(int)) > 0).any()  # absent ones at the tail


def test_dropout_shares(source: ShotSource):
    full, some = drawn(source), drawn(source, caption=0.25, history=0.5)
    dropped = np.mean([example["mask"].sum() == 1 for example in some])
    assert 0.15 < dropped < 0.35 and not any(example["mask"].sum() == 1 for example in full)
    with_history = [e for e in some if place(e) not in (0, 3)]
    assert 0.4 < np.mean([not e["memory_valid"].any() for e in with_history]) < 0.6
    assert all(e["memory_valid"][0] for e in full if place(e) not in (0, 3))
    assert not any(e["memory_valid"].any() for e in drawn(source, 40, pair=1.0))


def test_pair_dropout_hides_both_frames_of_a_shot(source: ShotSource):
    """With the newest shot hidden, the end frame of the one before it stands first."""
    firsts = {int(e["memory_latents"][0, 0, 0, 0]) for e in drawn(source, pair=0.5) if place(e) == 5 and e["memory_valid"][0]}
    assert firsts == {7, 9}


def test_a_history_of_a_random_length(source: ShotSource):
    """The last shot of the second story sees its last 0, 1 or 2 earlier shots, each as often."""
    dataset = pair_examples(source, 2 * SLOTS + 1, KEEP, 0, longest=2)
    lengths = []
    for i in range(500):
        example = dataset[i]
        if place(example) == 7:
            seen = example["memory_latents"][example["memory_valid"]][:, 0, 0, 0]
            assert len(seen) in (0, 2, 4) and set(seen) == set(range(14 - len(seen), 14))
            lengths.append(len(seen))
    assert [0.15 < lengths.count(n) / len(lengths) < 0.52 for n in (0, 2, 4)] == [True] * 3


def test_shots_of_several_characters_as_often_as_asked_for():
    """One shot of five has two characters: a third of the examples from it alone, and its fifth of the rest."""
    shots = tuple(Shot(f"SH0{i}0", word, characters=("mia", "tom")[: i // 5 + 1]) for i, word in enumerate(WORDS, start=1))
    cast = (Character("mia", "Mia"), Character("tom", "Tom"))
    told = Story("t", characters=cast, scenes=(Scene("SC01", shots=shots),))
    latents = np.broadcast_to(np.arange(10, dtype=np.float16).reshape(5, 2, 1, 1, 1), (5, 2, 1, 2, 2))
    source = ShotSource(Latents((told,), (0,), latents), WordTokenizer(WORDS, 3))
    dataset = pair_examples(source, SLOTS, KEEP, seed=0, crowded=1 / 3)
    places = [place(dataset[i]) for i in range(600)]
    assert 0.43 < places.count(4) / 600 < 0.5 and set(places) == set(range(5))
    assert len(source) == 5  # as it was
    with pytest.raises(InputError, match=r"config\.data\.crowded: found no shot with two or more characters"):
        pair_examples(ShotSource(Latents((story(WORDS),), (0,), latents), WordTokenizer(WORDS, 3)), 3, KEEP, 0, crowded=0.5)


def test_same_seed_same_examples(source: ShotSource):
    a, b = drawn(source, 20, pair=0.3, caption=0.3), drawn(source, 20, pair=0.3, caption=0.3)
    for x, y in zip(a, b, strict=True):
        assert x.keys() == y.keys()
        for name in x:
            np.testing.assert_array_equal(x[name], y[name])


def test_clips_come_with_their_condition():
    latents = np.arange(12, dtype=np.float16).reshape(3, 2, 1, 1, 1, 2)
    source = ShotSource(Latents((story(WORDS[:3]),), (0,), latents), WordTokenizer(WORDS, 3))
    for dropout in (0.0, 1.0):
        dataset = clip_examples(source, dropout, 0)
        for i in range(6):
            example = dataset[i]
            row = int(example["clip"].flat[0]) // 4
            np.testing.assert_array_equal(example["clip"], latents[row, 0])
            np.testing.assert_array_equal(example["condition"], latents[row, 1])
            assert example["ids"][0] == (1 if dropout else 2 + row)
            assert example["clip"].dtype == np.float32


def test_a_frame_of_the_pair_is_hidden_now_and_then(source: ShotSource):
    """Never both; and nothing else about the examples changes."""
    plain, some = drawn(source, 200), drawn(source, 200, frame=0.5)
    shown = np.stack([example.pop("shown") for example in some])
    assert shown.any(1).all() and 0.35 < (~shown).any(1).mean() < 0.65 and 0.3 < (~shown)[(~shown).any(1), 0].mean() < 0.7
    assert all((a["pair"] == b["pair"]).all() and a.keys() == b.keys() for a, b in zip(plain, some, strict=True))


def test_other_recipes_get_their_ranking_their_captions_and_the_tokens_of_the_previous_end_frame():
    """Frames of shot k look like angle k of a circle (end frames a little further), the text of shot k like angle k - 2."""
    stories, count = (story(WORDS),), len(WORDS)
    latents = np.arange(2 * count, dtype=np.float16).reshape(count, 2, 1, 1, 1) + 1
    angles = np.arange(count)[:, None] + np.array([0, 0.1])
    circle = np.stack([np.cos(angles / 4), np.sin(angles / 4)], -1).astype(np.float16)
    tokens = 10 * np.arange(count, dtype=np.float16)[:, None, None] + np.zeros((1, 3, 4), np.float16)
    seen = Pictures(circle, np.roll(circle[:, 0], 2, axis=0), tokens)
    embedded = np.arange(count + 1, dtype=np.float16)[:, None, None] + np.zeros((1, 2, 3), np.float16)
    recipe = STEP2Config(ranking="clip_text", anchors=False, previous=False, image_tokens=True)
    source = ShotSource(Latents(stories, (0,), latents), Texts(embedded, np.ones((count + 1, 2), int)), recipe, seen)
    example = source.memory(0, 4, [True] * 4, 3)
    np.testing.assert_array_equal(example["memory_latents"][:, 0, 0, 0], [5, 6, 4])  # frames of shot 2, then the end of 1
    assert example["image_tokens"].shape == (3, 4) and (example["image_tokens"] == 30).all()
    assert not source.memory(0, 0, [], 3)["image_tokens"].any()
    assert (source.caption(0, 3, False)["caption"] == 3).all() and (source.caption(0, 3, True)["caption"] == count).all()
    assert set(pair_examples(source, 3, KEEP, 0)[0]) == {
        "pair", "caption", "memory_latents", "memory_valid", "memory_hints", "image_tokens",
    }  # fmt: skip
