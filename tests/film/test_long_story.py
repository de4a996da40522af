"""What keeps a long story's shots as cheap as its first ones: one program, one size of memory, and nothing kept that grows."""

from __future__ import annotations

import tracemalloc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from stage_jax.generate.bank import Bank
from stage_jax.generate.board import draw_board
from stage_jax.generate.clips import ClipSampler, fill_board
from stage_jax.generate.models import Models, load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.generate.shelf import Shelf
from stage_jax.recipes.ranking import similarity
from stage_jax.story.board import Board, BoardShot, Pair
from stage_jax.story.types import Scene, Shot, Story
from tests.generate.models import make_story, write_models

COMPILED = "/jax/core/compile/backend_compile_duration"
SHOTS = 24


def long_story() -> Story:
    """Who is in a shot, where, and how much is said of it change."""
    who = (("mia",), ("tom",), ("mia", "tom"), ())
    scenes = tuple(
        Scene(f"SC{n:02d}", location=("beach", "wood", "")[n % 3], shots=tuple(
            Shot(f"SH0{i}0", f"Mia walks {'left ' * (i + n)}.", characters=who[(i + n) % 4]) for i in range(1, 5)
        )) for n in range(SHOTS // 4)
    )  # fmt: skip
    return replace(make_story(), scenes=scenes)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    return load_models(write_models(tmp_path_factory.mktemp("long") / "model"))


@pytest.fixture
def compiled() -> Iterator[list[str]]:
    """Grows by one with every program that is compiled, or found compiled on the disk."""
    events: list[str] = []

    def note(event: str, *_: object, **__: object) -> None:
        events.extend([event] * (event == COMPILED))

    jax.monitoring.register_event_duration_secs_listener(note)
    yield events
    jax.monitoring.unregister_event_duration_listener(note)


def test_after_the_first_shot_nothing_is_compiled(models: Models, compiled: list[str], monkeypatch: pytest.MonkeyPatch):
    """Neither for pairs nor for clips; and what the model sees of the bank has one size, full or empty."""
    sampler, counts, seen, call = PairSampler(models.step2, models.captions), [], [], PairSampler.__call__

    def noted(self: PairSampler, captions: list[str], memory: object, *rest: object) -> object:
        seen.append((jax.tree.map(np.shape, memory), int(memory.valid.sum())))
        return call(self, captions, memory, *rest)

    monkeypatch.setattr(PairSampler, "__call__", noted)
    board = draw_board(models, long_story(), 0, sampler=sampler, progress=lambda *_: counts.append(len(compiled)))
    assert len(counts) == SHOTS and counts[0] > 0 and set(counts) == {counts[0]} and sampler.programs() == 1
    shapes, held = zip(*seen, strict=True)
    slots = shapes[0].valid[1]
    assert all(shape == shapes[0] for shape in shapes) and list(held) == [min(2 * n, slots) for n in range(SHOTS)]
    tokens = [[entry.tokens for entry in shot.memory] for shot in board.shots]
    assert all(each == tokens[-1] for each in tokens[slots // 2 + 1 :]) and len(tokens[-1]) == slots

    del counts[:], compiled[:]
    fill_board(board, ClipSampler(models), progress=lambda *_: counts.append(len(compiled)))
    assert len(counts) == SHOTS and counts[0] > 0 and set(counts) == {counts[0]}


def test_the_bank_is_copied_when_it_doubles_and_not_with_every_shot():
    story = long_story()
    bank, rng, pairs, held = Bank(story, (2, 4, 4)), np.random.default_rng(0), [], []
    for scene, shot in story.shots():
        pairs.append(rng.standard_normal((2, 2, 4, 4), dtype=np.float32))
        bank.add(scene, shot, pairs[-1], pairs[-1][:, 0, 0])
        held += [bank.latents.base] if not held or bank.latents.base is not held[-1] else []
        np.testing.assert_array_equal(bank.latents, np.concatenate(pairs))
    assert len(held) == 1 + np.ceil(np.log2(2 * SHOTS / 8))
    np.testing.assert_array_equal(bank.pictures, np.concatenate(pairs)[:, 0, 0])


def test_ranking_takes_no_memory_that_grows():
    frames = np.random.default_rng(0).standard_normal((200, 16, 32, 32), dtype=np.float32)
    tracemalloc.start()
    found = similarity(frames, frames[-1])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < frames.nbytes / 10
    rows = frames.reshape(200, -1).astype(np.float64)
    np.testing.assert_allclose(found, rows @ rows[-1] / np.linalg.norm(rows, axis=1) / np.linalg.norm(rows[-1]), rtol=1e-12)


class OneClip:
    """Makes clips, and counts those that somebody still holds."""

    def __init__(self) -> None:
        self.settings, self.made = {}, []

    def held(self) -> int:
        return sum(clip() is not None for clip in self.made)

    def key(self, shot: BoardShot, fps: float) -> str:
        return shot.name

    def fill(self, shot: BoardShot, fps: float) -> np.ndarray:
        clip = np.full((5, 8, 8, 3), len(self.made), np.uint8)
        self.made.append(weakref.ref(clip))
        return clip


def test_clips_are_not_kept_in_memory(tmp_path: Path):
    story, sampler, held = long_story(), OneClip(), []
    pair = Pair(*np.zeros((2, 8, 8, 3), np.uint8))
    shots = (BoardShot(story.shot_name(*each), *each, "", 0, pair, (), "given") for each in story.shots())
    board = fill_board(Board(story, tuple(shots), 8.0), sampler, lambda *_: held.append(sampler.held()), Shelf(tmp_path))
    assert len(held) == SHOTS and max(held) == 1
    assert [int(shot.clip.read().mean()) for shot in board.shots] == list(range(SHOTS)) and sampler.held() <= 1
