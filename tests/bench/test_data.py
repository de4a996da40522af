"""The benchmark of loaders, at a tiny size: both do the same, and the verb prints what it should."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from stage_jax.bench import data
from stage_jax.bench.contest import Timing
from stage_jax.bench.data import BATCHES, OURS, PEER, DataBench, Task
from stage_jax.cli.main import main
from stage_jax.errors import InputError

RESULT = DataBench(
    Timing(BATCHES, {OURS: (1.0, 2.0, 4.0), PEER: (2.0, 2.0, 6.0)}),
    {OURS: 3.0, PEER: 0.5},
    0.0123,
    0.2,
    {"batch": 4, "batches": 10, "threads": 2, "versions": {"grain": "1"}},
)


def test_rates_and_ratio():
    """Ours is the faster one in the first and last round, so that the paired ratio is 1.5."""
    assert (RESULT.samples_per_second(OURS), RESULT.samples_per_second(PEER), RESULT.ratio()) == (20, 20, 1.5)


def test_what_is_printed_and_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    asked = []

    def bench(task: Task, **_: object) -> DataBench:
        asked.append(task)
        return RESULT

    monkeypatch.setattr(data, "bench_data", bench)
    assert main(["bench", "data", "--rounds", "3", "--workers", "1", "--out", str(tmp_path / "new")]) == 0
    printed = capsys.readouterr().out
    assert "1.50   1.00 to 2.00" in printed and "waits for data 1.23 % of its time (steps of 0.200 s)" in printed
    assert "2 processors, 1 workers; grain 1" in printed and asked[0].workers == 1
    assert json.loads((tmp_path / "new" / "data.json").read_text())["waiting"] == 0.0123


def test_without_torch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(data.importlib.util, "find_spec", lambda name: None)
    assert main(["bench", "data"]) == 2
    assert "torch is not installed" in capsys.readouterr().err


@pytest.mark.torch
@pytest.mark.slow
def test_the_contenders_read_the_same():
    pytest.importorskip("torch")
    result = data.bench_data(Task(stories=4, few=4, size=16, batch=2, batches=4, workers=1, steps=3), rounds=1)
    assert {name: len(values) for name, values in result.timing.seconds.items()} == {OURS: 1, PEER: 1}
    assert all(value > 0 for value in (*result.first.values(), result.step_seconds)) and 0 <= result.waiting < 1


@pytest.mark.torch
def test_loaders_that_differ_are_refused(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("torch")

    def compete(contenders: list, *_: object, ready: object, **__: object) -> None:
        (folder,) = contenders[0].arguments
        for name, shape in (("ours", [2]), ("peer", [3])):
            (Path(folder) / f"{name}.json").write_text(json.dumps({"first": 1.0, "shape": shape}))
        ready()

    monkeypatch.setattr(data, "compete", compete)
    with pytest.raises(InputError, match="expected the same"):
        data.bench_data(Task(stories=1, few=1, size=16), rounds=1)
