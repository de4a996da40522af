"""A shot late in a story costs what an early one does: the same tokens, the same program."""

from __future__ import annotations

from pathlib import Path

import pytest

from stage_jax.bench.boards import bench_boards
from stage_jax.generate.models import load_models
from tests.generate.models import write_models


@pytest.mark.slow
def test_one_program_for_shots_2_and_200(tmp_path: Path):
    models = load_models(write_models(tmp_path / "model"), fill=False)
    costs = bench_boards(models, "Mia walks left.", rounds=2, shots=(2, 200))
    assert [cost.packing for cost in costs] == ["paper", "release", "off"] and all(cost.programs == 1 for cost in costs)
    assert [cost.memory_tokens > 0 for cost in costs] == [True, True, False]
    assert all(cost.pair_tokens == 8 and len(cost.seconds[200]) == 2 and cost.late_to_early() > 0 for cost in costs)
