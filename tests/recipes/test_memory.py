"""The memory pack: its budget, what is kept, what comes first, and that only the past is seen."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stage_jax.recipes.memory import BankFrame, bank_frames, fill_slots, hints, pack, reference_frame
from stage_jax.recipes.ranking import Evidence, relevance_by
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.story.types import Scene, Shot

PEOPLE, PLACES = ("mia", "tom", "ada", "bo"), ("beach", "wood", "")


def bank(*shots: tuple[str, str]) -> list[BankFrame]:
    """Frames of shots given as ("mia tom", "beach")."""
    return bank_frames(
        [(Scene("SC01", location=place), Shot("SH010", "x", characters=tuple(who.split()))) for who, place in shots]
    )


def random_bank(rng: np.random.Generator, shots: int) -> list[BankFrame]:
    return bank(*((" ".join(p for p in PEOPLE if rng.random() < 0.4), rng.choice(PLACES)) for _ in range(shots)))


def test_nothing_is_remembered_at_the_start():
    assert pack([], ("mia",), "beach", TINY, 5) == ()


def test_previous_end_frame_then_anchors_then_the_rest():
    """Anchors stand in the order of naming, before frames that share more."""
    history = bank(("tom", "wood"), ("mia", "wood"), ("mia tom", "beach"), ("mia tom", "beach"), ("", "wood"))
    chosen = pack(history, ("mia", "tom"), "beach", TINY, 5)
    assert [slot.frame for slot in chosen] == [9, 2, 0, 6, 7]  # ends: 1, 3, ...; the newest of the fitting ones next
    assert [slot.why for slot in chosen] == [
        "previous end frame", "first shows mia", "first shows tom", "shows mia, tom, same place",
        "shows mia, tom, same place",
    ]  # fmt: skip
    assert chosen[1].hints == (1.0, 0.0, 0.0, 0.0) and chosen[3].hints == (1.0, 1.0, 0.0, 1.0)
    assert [slot.frame for slot in pack(history, ("tom", "mia"), "beach", TINY, 5)[1:3]] == [0, 2]


def test_an_anchor_says_whom_it_introduces_and_whom_it_only_shows():
    history = bank(("tom", "wood"), ("mia tom", "wood"), ("", "wood"))
    chosen = pack(history, ("mia", "tom"), "beach", TINY, 3)
    assert [slot.why for slot in chosen[1:]] == ["first shows mia, shows tom", "first shows tom"]


def test_strangers_count_against_a_frame():
    history = bank(("mia", "wood"), ("mia bo", "beach"), ("mia", "beach"), ("", "wood"))
    order = [slot.frame for slot in pack(history, ("mia",), "beach", TINY, 6)]
    assert order == [7, 0, 4, 5, 2, 3]


def test_scenes_without_a_place_share_none():
    history = bank(("", ""), ("", ""))
    chosen = pack(history, (), "", TINY, 4)
    assert [slot.why for slot in chosen[1:]] == ["most recent of the rest"] * 3
    assert all(slot.hints == (0.0,) * 4 for slot in chosen)


@pytest.mark.parametrize("seed", range(20))
def test_any_history(seed: int):
    """The previous end frame first, no frame twice, anchors kept as long as there are slots, all of it repeatable."""
    rng = np.random.default_rng(seed)
    history = random_bank(rng, int(rng.integers(1, 30)))
    named = tuple(rng.permutation(PEOPLE)[: rng.integers(0, 4)])
    place, slots = str(rng.choice(PLACES)), int(rng.integers(0, 8))
    chosen = pack(history, named, place, TINY, 1 + slots)
    frames = [slot.frame for slot in chosen]
    assert frames[0] == len(history) - 1 and history[frames[0]].end
    assert len(set(frames)) == len(frames) == 1 + min(slots, len(history) - 1)
    appear = [next((i for i, f in enumerate(history) if name in f.characters), None) for name in named]
    anchors = list(dict.fromkeys(i for i in appear if i is not None and i != frames[0]))
    assert frames[1 : 1 + len(anchors)] == anchors[:slots]
    assert chosen == pack(list(history), named, place, TINY, 1 + slots)


def with_references(who: str, *shots: tuple[str, str]) -> list[BankFrame]:
    return [*map(reference_frame, who.split()), *bank(*shots)]


def test_references_are_anchors_and_never_the_previous_end_frame():
    """The first of a character stands where its first appearance would; further ones are ranked, last among their equals."""
    history = with_references("mia mia tom mia", ("mia", "wood"), ("mia", "beach"))
    chosen = pack(history, ("mia", "tom"), "beach", TINY, 9)
    assert [slot.frame for slot in chosen] == [7, 0, 2, 6, 4, 5, 1, 3]
    assert [slot.why for slot in chosen] == [
        "previous end frame", "first reference of mia", "first reference of tom", "shows mia, same place", "shows mia",
        "shows mia", "further reference of mia", "further reference of mia",
    ]  # fmt: skip
    assert [chosen[i].hints for i in (1, 2)] == [(1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0)]
    assert [slot.frame for slot in pack(history, ("tom",), "beach", TINY, 2)] == [7, 2]
    opening = pack(history[:4], ("tom", "mia"), "beach", TINY, 9)
    assert [slot.frame for slot in opening] == [2, 2, 0, 1, 3]  # the first anchor stands in for a previous end frame
    assert {slot.why for slot in opening[:2]} == {"first reference of tom"}
    plain = pack(history[:4], ("tom", "mia"), "beach", STEP2Config(previous=False), 9)
    assert [slot.frame for slot in plain] == [2, 0, 1, 3]  # a recipe without that place
    release = STEP2Config(ends=True)
    assert [slot.frame for slot in pack(history, ("mia", "tom"), "wood", release, 9)] == [7, 0, 2, 5, 1, 3]


def test_references_are_seen_by_shots_that_name_their_character_alone():
    history = with_references("mia tom", ("tom", "wood"))
    assert [slot.frame for slot in pack(history, ("mia",), "wood", TINY, 9)] == [3, 0, 2]
    assert [slot.frame for slot in pack(history, (), "wood", TINY, 9)] == [3, 2]
    assert pack(history[:2], ("ada",), "wood", TINY, 9) == ()


def test_a_reference_stands_first_also_where_appearances_are_no_anchors():
    history = with_references("mia", ("mia", "wood"), ("tom", "wood"), ("", "wood"))
    plain = STEP2Config(anchors=False, previous=False, ranking="recency")
    scores = relevance_by("recency", Evidence(np.zeros((7, 1, 1, 1), np.float32), references=1))
    assert [slot.frame for slot in pack(history, ("mia",), "wood", plain, 3, scores)] == [0, 6, 5]
    assert [slot.frame for slot in pack(history, ("tom",), "wood", plain, 3, scores)] == [6, 5, 4]


@pytest.mark.parametrize("ends", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_any_history_with_references(seed: int, ends: bool):
    """Whatever the references are: frames of shots keep their order among themselves, the places are as many as before."""
    rng = np.random.default_rng(seed)
    drawn = random_bank(rng, int(rng.integers(0, 12)))
    given = [str(who) for who in rng.choice(PEOPLE, rng.integers(1, 9))]
    history = [*map(reference_frame, given), *drawn]
    named = tuple(str(who) for who in rng.permutation(PEOPLE)[: rng.integers(0, 4)])
    place, places = str(rng.choice(PLACES)), int(rng.integers(1, 8))
    recipe = dataclasses.replace(TINY, ends=ends, previous=bool(rng.random() < 0.5))
    chosen = pack(history, named, place, recipe, places)
    frames = [slot.frame for slot in chosen]
    seen = [i for i, who in enumerate(given) if who in named]
    usable = len(seen) + len(drawn) // (2 if ends else 1)
    stand_in = recipe.previous and not drawn and bool(seen)  # the first anchor, in the place of a previous end frame
    assert len(frames) == min(places, usable + stand_in) and len(set(frames[stand_in:])) == len(frames) - stand_in
    assert frames[:1] == frames[1:2] or not stand_in or places == 1
    assert [i for i in frames if i < len(given)] == [i for i in frames if i in seen]
    previous = [len(history) - 1] if recipe.previous and drawn else frames[:stand_in]
    assert frames[: len(previous)] == previous
    appear = [next((i for i, f in enumerate(history) if who in f.characters and (f.end or f.reference or not ends)), None)
              for who in named]  # fmt: skip
    anchors = list(dict.fromkeys(i for i in appear if i is not None and (stand_in or i not in previous)))
    assert frames[len(previous) :][: len(anchors)] == anchors[: places - len(previous)]
    assert not stand_in or frames[0] == anchors[0]
    assert all(given.index(who) in frames for who in set(given) & set(named)) or len(previous) + len(anchors) > places
    assert all(slot.hints[-1] == 0 for slot in chosen if slot.frame < len(given))  # no reference shows a known place


def test_hints_name_at_most_three():
    frame = BankFrame(0, False, frozenset(PEOPLE), "beach")
    assert hints(frame, PEOPLE, "wood") == (1.0, 1.0, 1.0, 0.0)
    assert hints(frame, (), "beach") == (0.0, 0.0, 0.0, 1.0)


def test_slots_as_arrays():
    history = bank(("mia", "beach"), ("mia", "beach"))
    latents = np.arange(4 * 2, dtype=np.float32).reshape(4, 2, 1, 1) + 1
    chosen = pack(history, ("mia",), "beach", TINY, 3)
    found, valid, hinted = fill_slots(chosen, latents, 5)
    np.testing.assert_array_equal(found[:, 0, 0, 0], [7, 1, 5, 0, 0])
    np.testing.assert_array_equal(valid, [True, True, True, False, False])
    np.testing.assert_array_equal(hinted, [[1, 0, 0, 1]] * 3 + [[0] * 4] * 2)
    assert found.dtype == hinted.dtype == np.float32


def chosen_by(recipe: STEP2Config, history: list[BankFrame], evidence: Evidence, named: tuple[str, ...] = ()) -> list[int]:
    scores = relevance_by(recipe.ranking, evidence)
    return [slot.frame for slot in pack(history, named, "", recipe, 5, scores)]


def test_rankings():
    """Three shots. The embeddings of frames 1 and 2 point where the text does; frame 0 looks like the previous end frame."""
    history = bank(("mia", "beach"), ("", "wood"), ("", "wood"))
    pictures = np.array([[0, 1], [3, 0.1], [1, 0], [-1, 0], [0.2, -1], [0, 2]], np.float32)
    latents = np.array([[1, 1], [2, 2], [-1, -1], [0, 3], [-2, -2], [1, 1]], np.float32)[:, :, None, None]
    seen = Evidence(latents, pictures, np.array([2, 0], np.float32))
    plain = STEP2Config(anchors=False)
    by = {name: dataclasses.replace(plain, ranking=name) for name in ("clip_text", "clip_image", "latent", "recency")}
    assert chosen_by(by["clip_text"], history, seen) == [5, 2, 1, 4, 0]
    assert chosen_by(by["clip_image"], history, seen) == [5, 0, 1, 2, 3]  # 2 before 3: as alike, start frames first
    assert chosen_by(by["latent"], history, seen) == [5, 0, 1, 3, 4]
    assert chosen_by(by["recency"], history, seen) == [5, 4, 3, 2, 1]
    anchored = dataclasses.replace(by["recency"], anchors=True)
    assert chosen_by(anchored, history, seen, ("mia",)) == [5, 0, 4, 3, 2]
    assert chosen_by(dataclasses.replace(by["clip_text"], previous=False), history, seen) == [2, 1, 4, 5, 0]
    assert chosen_by(dataclasses.replace(anchored, ends=True), history, seen, ("mia",)) == [5, 1, 3]
    slots = pack(history, ("mia",), "", anchored, 3, relevance_by("recency", seen))
    assert [(slot.why, slot.score) for slot in slots] == [
        ("previous end frame", 5.0), ("first shows mia", 0.0), ("ranked by recency", 4.0),
    ]  # fmt: skip
    assert pack(history, (), "", TINY, 0) == ()
    with pytest.raises(ValueError, match="found no CLIP embeddings"):
        relevance_by("clip_text", Evidence(latents))


def test_rankings_of_references():
    """Two references before two shots. Nothing is like a previous end frame that is not there; old are all references."""
    rng = np.random.default_rng(0)
    latents, pictures = rng.standard_normal((6, 2, 3, 3), np.float32), rng.standard_normal((6, 4), np.float32)
    text = pictures[1] + 0.1
    for n in (2, 6):
        seen = Evidence(latents[:n], pictures[:n], text, references=2)
        alike = {"latent": latents.reshape(6, -1), "clip_image": pictures}
        for ranking, rows in alike.items():
            cosines = rows[:n] @ rows[n - 1] / np.linalg.norm(rows[:n], axis=1) / np.linalg.norm(rows[n - 1])
            expected = [0, 0] if n == 2 else cosines
            np.testing.assert_allclose(relevance_by(ranking, seen), expected, rtol=1e-5)
        assert np.argmax(relevance_by("clip_text", seen)) == 1
        np.testing.assert_array_equal(relevance_by("recency", seen), [-1, -1, 0, 1, 2, 3][:n])
        assert relevance_by("story", seen) is None
