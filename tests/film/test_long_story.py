"""What keeps a long story's shots as cheap as its first ones: one program, one size of memory, and nothing kept that grows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import jax
import numpy as np
import pytest

from stage_jax.generate.board import draw_board
from stage_jax.generate.clips import ClipSampler, fill_board
from stage_jax.generate.models import Models, load_models
from stage_jax.generate.pairs import PairSampler
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
