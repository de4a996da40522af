"""Shot inflation: the target is always last, what is put in is told, and both orders occur."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.cache import Latents
from data_pipeline.shots import ShotSource
from data_pipeline.triplets import COPY, OTHER, REAL, Inflation, altered, triplet_examples
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.story.types import Scene, Shot, Story

WORDS = ("one", "two", "three")
LENGTHS = (2, 3, 1)


def drawn(inflation: Inflation, count: int = 100) -> list[dict]:
    """Clips of six shots of three stories are their numbers, 0 to 5; altered copies are 100 more."""
    shots = tuple(Shot(f"SH{i}", word) for i, word in enumerate(WORDS))
    stories = tuple(Story("t", scenes=(Scene("SC01", shots=shots[:length]),)) for length in LENGTHS)
    rows = np.arange(6, dtype=np.float16).reshape(6, 1, 1, 1, 1, 1)
    source = ShotSource(Latents(stories, (0, 2, 5), np.repeat(rows, 2, 1)), WordTokenizer(WORDS, 3))
    dataset = triplet_examples(source, Latents(stories, (0, 2, 5), rows + 100), inflation, 0.0, seed=0)
    return [dataset[i] for i in range(count)]


def shown(example: dict) -> tuple[int, list[int], list[int]]:
    return int(example["target"].item()), example["context"].ravel().astype(int).tolist(), example["kinds"].tolist()


@pytest.mark.parametrize("before", [0.0, 1.0, 0.5])
def test_what_is_put_in_is_what_it_is_said_to_be(before: float):
    order, kinds_seen = set(), set()
    for example in drawn(Inflation(before=before)):
        target, context, kinds = shown(example)
        assert target in (1, 3, 4) and example["ids"][0] == 2 + {1: 1, 3: 1, 4: 2}[target]  # a first shot has no history
        if kinds == [REAL, REAL]:
            assert (target, context) == (4, [2, 3])
            continue
        (at,) = (i for i, kind in enumerate(kinds) if kind != REAL)
        assert context[1 - at] == target - 1
        own = {1: {0, 1}, 3: {2, 3, 4}, 4: {2, 3, 4}}[target]
        assert context[at] == 100 + target - 1 if kinds[at] == COPY else context[at] not in own and context[at] < 100
        order.add(at)
        kinds_seen.add(kinds[at])
    assert order == {0.0: {1}, 1.0: {0}, 0.5: {0, 1}}[before] and kinds_seen == {COPY, OTHER}


def test_shares():
    examples = [shown(example) for example in drawn(Inflation(real=0.5, other=0.25), 300)]
    third = [kinds for target, _, kinds in examples if target == 4]
    assert 0.35 < np.mean([kinds == [REAL, REAL] for kinds in third]) < 0.65
    synthetic = [kinds for _, _, kinds in examples if kinds != [REAL, REAL]]
    assert 0.15 < np.mean([OTHER in kinds for kinds in synthetic]) < 0.35
    others = {place for _, context, kinds in examples for place, kind in zip(context, kinds, strict=True) if kind == OTHER}
    assert others == set(range(6))  # the only shot of a story, too


def test_copies_are_altered_in_space_or_in_colour():
    """In colour every frame changes in the same way and edges stay; in space, colours stay and edges move."""
    rng = np.random.default_rng(0)
    clip = np.full((3, 16, 16, 3), (200, 30, 30), np.uint8)
    clip[:, :, :8] = (30, 30, 200)
    edges = set()
    for seed in range(40):
        copy = altered(clip, np.random.default_rng(seed))
        assert copy.shape == clip.shape and copy.dtype == np.uint8 and copy.flags["C_CONTIGUOUS"]
        assert (copy == copy[:1]).all() and (copy != clip).any()
        row = copy[0, 0].astype(int)
        edges.add("space" if (row[0] - (200, 30, 30) == 0).all() else "colour")
        if (row[0] - (200, 30, 30)).any():
            assert (np.diff(row, axis=0)[np.arange(15) != 7] == 0).all()  # the edge is where it was
    assert edges == {"space", "colour"}
    noise = rng.integers(0, 256, (1, 8, 8, 3), np.uint8)
    np.testing.assert_array_equal(altered(noise, np.random.default_rng(3)), altered(noise, np.random.default_rng(3)))
