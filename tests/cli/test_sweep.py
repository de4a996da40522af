"""`stage sweep`: what it lists, runs, skips and prints."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from stage_jax.cli import main as cli
from stage_jax.cli.config_file import load_config, run_file
from stage_jax.errors import InputError
from stage_jax.training import train as training
from stage_jax.training.sweep import flags, product, run_names, values

SWEEP = """
from stage_jax.training.sweep import product, values

def get_sweep():
    return [*product(values("optimizer.lr", [1e-3, 2e-3]), values("name", ["a b"])), {"seed": 3}]
"""
RUNS = [*run_names([*product(values("optimizer.lr", [1e-3, 2e-3]), values("name", ["a b"])), {"seed": 3}], "here")]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`stage sweep` with flags; a run writes what a training writes, at once, and says what it was asked for."""
    (tmp_path / "sweep.py").write_text(SWEEP)
    ran: list[tuple[str, dict[str, Any]]] = []

    def train(config: Any, workdir: Path) -> None:
        ran.append((workdir.name, config.to_dict()))
        training.keep_config(config, workdir)
        loss = config.optimizer.lr * 1000
        (workdir / "metrics.jsonl").write_text(json.dumps({"step": config.steps, "loss": loss, "steps_per_second": 9.0}) + "\n")
        (workdir / "model").mkdir()
        (workdir / "model" / "model.json").write_text("{}")

    monkeypatch.setattr(training, "train", train)
    config = Path(__file__).resolve().parents[2] / "configs" / "tiny_vae.py"

    def run(*flags: str) -> int:
        files = ["--config", str(config), "--sweep", str(tmp_path / "sweep.py"), "--workdir", str(tmp_path / "runs")]
        return cli.main(["sweep", *files, "--config.steps=7", *flags])

    run.ran = ran
    return run


def test_runs_what_is_left(stage, tmp_path: Path, capsys):
    """Commands and table of what is not begun; the runs with their changes; nothing twice; a page, the least loss starred."""
    assert stage("--commands") == 0
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(words[5]).name for words in lines] == RUNS
    assert lines[0][6:] == ["--config.steps=7", "--config.optimizer.lr=0.001", "--config.name=a b"]
    assert stage("--list") == 0
    assert capsys.readouterr().out.count("not begun") == 3 and not (tmp_path / "runs").exists()
    assert stage.ran == []

    assert stage() == 0
    assert [name for name, _ in stage.ran] == RUNS
    assert [(c["optimizer"]["lr"], c["name"], c["seed"], c["steps"]) for _, c in stage.ran[:2]] == [
        (1e-3, "a b", 0, 7), (2e-3, "a b", 0, 7)
    ]  # fmt: skip
    assert stage.ran[2][1]["seed"] == 3
    table = capsys.readouterr().out.splitlines()[-4:]
    assert table[0].split() == ["run", "state", "loss"]
    assert table[1].split() == [RUNS[0], "finished", "1*"] and table[2].split() == [RUNS[1], "finished", "2"]
    assert f"<td>{RUNS[0]}</td><td>finished</td><td>1*</td>" in (tmp_path / "runs" / "sweep.html").read_text()
    with (tmp_path / "runs" / RUNS[0] / "metrics.jsonl").open("a") as log:
        log.write('{"step": 8, "lo')  # as a kill may leave it
    assert stage() == 0 and len(stage.ran) == 3
    assert stage("--commands") == 0 and capsys.readouterr().out.count("stage train") == 0
    assert stage("--config.steps=8") == 2
    assert "was started with another config" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def get_sweep():\n    return {}", "get_sweep returned dict, expected a list of {dotted name: value}"),
        ("def get_sweep():\n    return [{}]", "get_sweep returned list, expected a list of"),
        ("def get_sweep():\n    return [{'seed': 1}] * 2", "the run seed=1 is in it twice"),
        ("def get_sweep():\n    return [{'sed': 1}]", "--config.sed: found no 'sed' in the config"),
        ("def get_sweep():\n    1 / 0", "sweep.py:2: ZeroDivisionError"),
        ("x = 1", "found no get_sweep"),
    ],
)
def test_bad_sweeps(stage, tmp_path: Path, text: str, said: str, capsys):
    (tmp_path / "sweep.py").write_text(text)
    assert stage() == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and stage.ran == []


def test_one_run_that_fails_does_not_stop_the_others(stage, tmp_path: Path, capsys):
    """The config's records do not exist for a real training: each run is told of in a line."""
    calls = []

    def fail(config: Any, workdir: Path) -> None:
        calls.append(workdir.name)
        raise InputError("data: not found")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "train", fail)
        assert stage() == 2
    assert calls == RUNS
    assert capsys.readouterr().err.splitlines() == [f"stage: {name}: data: not found" for name in RUNS]


def test_the_sweep_of_this_project_fits_its_config():
    configs = Path(__file__).resolve().parents[2] / "configs"
    named = run_names(run_file(configs / "sweeps" / "tiny_lr.py", "get_sweep"), "here")
    rates = {load_config(str(configs / "tiny_filler.py"), flags(changes)).optimizer.lr for changes in named.values()}
    assert len(named) == 6 and rates == {1e-3, 3e-3, 1e-2}


def test_names_are_short_and_apart():
    assert RUNS[0].startswith("optimizer.lr=0.001,name=a_b-") and RUNS[2] == "seed=3"
    names = list(run_names(values("data.dir", ["x" * 300, "x" * 301, "a/b", "a_b"]), "here"))
    assert len(set(names)) == 4 and max(map(len, names)) <= 120 and not any("/" in name for name in names)
    assert product(values("a", [1, 2]), values("b", [3])) == [{"a": 1, "b": 3}, {"a": 2, "b": 3}]
