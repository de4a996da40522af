"""The whole measurement of STEP2, once, on models with random weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from data_pipeline.toy_records import write_toy_records
from stage_jax.evaluation import acceptance
from stage_jax.evaluation.goals import STEP2_GOALS
from tests.evaluation.test_measure_tiny import model  # noqa: F401
from tests.tools import load_tool

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def program():
    return load_tool("measure_step2")


@pytest.fixture(autouse=True)
def short_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptance, "LENGTHS", (2, 3))


def run(program, model: Path, data: Path, out: Path, *more: str) -> dict[str, dict]:  # noqa: F811
    small = ("--stories", "2", "--seeds", "1", "--steps", "1")
    assert program.main(["--model", str(model), "--data", str(data), "--out", str(out), *small, *more]) == 0
    written = json.loads((out / "figures.json").read_text())
    assert (out / "figures.md").read_text().count("\n") == len(written["figures"]) + 2
    return {f"{f['part']}: {f['measure']}: {f['what']}": f for f in written["figures"]}


def test_memory_rollouts_and_dual_encoding(program, model, tmp_path: Path):  # noqa: F811
    write_toy_records(tmp_path / "toy", {"test": 2}, seed=19, clips=False)
    figures = run(program, model, tmp_path / "toy", tmp_path / "out")
    own = {name.replace("6 shots", "2 shots").replace("12 shots", "3 shots") for name in STEP2_GOALS}
    own -= {name for name in own if "DPO" in name or name.endswith("camera")}
    assert own <= set(figures), sorted(own - set(figures))
    assert figures["step2: true history: colour"]["chance"] == 1 / 6
    assert figures["step2: own rollout of 3 shots, shot 3: place"]["n"] <= 4


def test_before_and_after_dpo(program, model, tmp_path: Path):  # noqa: F811
    """The same model twice: nothing changes."""
    write_toy_records(tmp_path / "toy", {"test": 2}, seed=19, clips=False)
    more = ("--dpo", str(model), "--parts", "dpo")
    figures = run(program, model, tmp_path / "toy", tmp_path / "out", *more)
    changed = {name: f["value"] for name, f in figures.items() if "change by DPO" in name}
    assert "step2: change by DPO: preferences, interior: pair accuracy" in changed and not any(changed.values())
    assert program.main(["--model", str(model), "--data", str(tmp_path), "--out", str(tmp_path), "--parts", "dpo"]) == 2
