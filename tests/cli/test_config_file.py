"""Configs and what the command line changes in them."""

from __future__ import annotations

import ast
import re
import shlex
import sys
import types
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from stage_jax.cli import main as cli
from stage_jax.cli.config_file import load_config
from stage_jax.errors import InputError
from stage_jax.training import train as training
from stage_jax.training.config import check_config

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = """
from ml_collections import ConfigDict

def get_config(arg=""):
    config = ConfigDict({"name": arg or "plain", "steps": 10, "ema": 0.5, "log": True, "shape": (1, 2), "none": None})
    config.optimizer = ConfigDict({"lr": 1e-3, "betas": [0.9, 0.99]})
    return config
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.py"
    path.write_text(CONFIG)
    return path


def test_the_argument_is_handed_over(file: Path) -> None:
    assert (load_config(str(file)).name, load_config(f"{file}:smoke").name) == ("plain", "smoke")


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        (["--config.steps=20"], "steps", 20),
        (["--config.steps", "20"], "steps", 20),
        (["--config.steps", "-20"], "steps", -20),
        (["--config.name=3"], "name", "3"),
        (["--config.name="], "name", ""),
        (["--config.name=a=b"], "name", "a=b"),
        (["--config.ema=1"], "ema", 1.0),
        (["--config.ema=1e-3"], "ema", 1e-3),
        (["--config.log=false"], "log", False),
        (["--config.log=True"], "log", True),
        (["--config.log"], "log", True),
        (["--config.shape=3,4,5"], "shape", (3, 4, 5)),
        (["--config.shape=(3,)"], "shape", (3,)),
        (["--config.none=3"], "none", 3),
        (["--config.none=word"], "none", "word"),
        (["--config.none=true"], "none", True),
        (["--config.optimizer.lr=2"], "optimizer.lr", 2.0),
        (["--config.optimizer.betas=[0.5]"], "optimizer.betas", [0.5]),
        (["--config.steps=1", "--config.steps=2"], "steps", 2),
    ],
)
def test_values_take_the_type_of_what_they_replace(file: Path, override: list[str], name: str, value: object) -> None:
    config = load_config(str(file), override)
    for part in name.split("."):
        config = config[part]
    assert config == value and type(config) is type(value)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("--config.stesp=3", "--config.stesp: found no 'stesp' in the config, expected 'steps'"),
        ("--config.optimiser.lr=3", "expected 'optimizer'"),
        ("--config.optimizer.rate=3", "expected one of betas, lr"),
        ("--config.optimizer=3", "is a group of values, expected one of betas, lr in it"),
        ("--config.steps.more=3", "steps is a value, expected a group that has 'more' in it"),
        ("--config.steps=1.5", "--config.steps: found '1.5', expected a value of type int"),
        ("--config.steps=True", "found 'True', expected a value of type int"),
        ("--config.steps=ten", "found 'ten'"),
        ("--config.steps=", "found ''"),
        ("--config.steps", "--config.steps: found no value, expected a value of type int"),
        ("--config.ema=True", "found 'True', expected a value of type float"),
        ("--config.log=maybe", "found 'maybe', expected true or false"),
        ("--config.shape=3", "found '3', expected a value of type tuple"),
        ("--config.name", "found no value, expected a string"),
        ("--config.=3", "found no ''"),
        ("--conf.steps=3", "unknown argument --conf.steps=3, expected --config.NAME=VALUE"),
        ("stray", "unknown argument stray"),
    ],
)
def test_what_does_not_fit_is_named(file: Path, override: str, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        load_config(str(file), [override])
    assert expected in str(caught.value)


def test_a_loaded_config_is_locked(file: Path) -> None:
    with pytest.raises(AttributeError, match="sixe"):
        load_config(str(file)).sixe = 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1", "config.py: found no get_config"),
        ("def get_config(:\n", "config.py:1: "),
        ("\n\ndef get_config():\n    return 1 / 0", "config.py:4: ZeroDivisionError: division by zero"),
        ("import no_such_module_of_ours", "config.py:1: ModuleNotFoundError"),
        ("def get_config(): return {}", "config.py: get_config returned a dict, expected an ml_collections.ConfigDict"),
        ("\0", "config.py:"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, text: str, expected: str) -> None:
    (tmp_path / "config.py").write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(str(tmp_path / "config.py"))
    assert expected in str(caught.value)


def test_an_argument_for_a_config_that_takes_none(tmp_path: Path) -> None:
    (tmp_path / "config.py").write_text("def get_config(): return {}")
    with pytest.raises(InputError, match=r"config.py:1: TypeError"):
        load_config(f"{tmp_path / 'config.py'}:smoke")


def test_train_gets_the_config_and_the_folder(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple] = []
    fake = types.ModuleType("stage_jax.training.train")
    fake.train = lambda *args: calls.append(args)
    monkeypatch.setitem(sys.modules, "stage_jax.training.train", fake)
    assert cli.main(["train", "--config", f"{file}:x", "--workdir", "w", "--config.optimizer.lr=0.5"]) == 0
    ((config, workdir),) = calls
    assert isinstance(config, ConfigDict) and workdir == Path("w")
    assert (config.name, config.optimizer.lr) == ("x", 0.5)


@pytest.mark.parametrize("name", [path.name for path in sorted(CONFIGS.glob("*.py"))])
def test_the_configs_of_this_project_load(name: str) -> None:
    config = load_config(str(CONFIGS / name), ["--config.seed=3"])
    assert config.seed == 3
    check_config(config, Path("nowhere"))


LARGE = [path.name for path in sorted(CONFIGS.glob("*.py")) if re.search(r"1_3b|14b", path.stem)]


@pytest.mark.parametrize("name", LARGE)
def test_a_large_model_is_spread_and_flags_say_over_what(name: str) -> None:
    """No device has to hold one whole, and nobody has to edit a config for another machine."""
    assert len(LARGE) >= 9
    assert load_config(str(CONFIGS / name), []).mesh.to_dict() == {"data": 1, "fsdp": -1, "tensor": 1}
    other = load_config(str(CONFIGS / name), ["--config.mesh.data=2", "--config.mesh.fsdp=4", "--config.mesh.tensor=2"])
    assert other.mesh.to_dict() == {"data": 2, "fsdp": 4, "tensor": 2}


OPENING = [*sorted(CONFIGS.glob("*.py")), *sorted((CONFIGS / "sweeps").glob("*.py"))]


@pytest.mark.parametrize("file", OPENING, ids=lambda file: file.stem)
def test_a_config_opens_with_the_command_that_runs_it(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every command of its first words that trains can be given as it stands there; one of them is for the file itself."""
    monkeypatch.chdir(CONFIGS.parent)
    monkeypatch.setattr(training, "train", check_config)
    lines = [line.strip() for line in ast.get_docstring(ast.parse(file.read_text())).splitlines()]
    commands = [shlex.split(line) for line in lines if line.startswith(("stage train ", "stage sweep "))]
    flag = "--sweep" if file.parent.name == "sweeps" else "--config"
    asked = [words[words.index(flag) + 1].partition(":")[0] for words in commands if flag in words]
    assert str(file.relative_to(CONFIGS.parent)) in asked
    for words in commands:
        words[words.index("--workdir") + 1] = str(tmp_path / "run")  # there may be one of that name
        assert cli.main([*words[1:], *(["--commands"] if words[1] == "sweep" else [])]) == 0
    runs = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert all(run[:2] == ["stage", "train"] for run in runs) and len(runs) >= sum(words[1] == "sweep" for words in commands)


def test_a_value_that_cannot_be_ends_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "--config", str(CONFIGS / "tiny_vae.py"), "--workdir", str(tmp_path / "run")]
    assert cli.main([*arguments, "--config.log_every=0"]) == 2
    assert capsys.readouterr().err == "stage: config.log_every: found 0, expected a whole number above 0\n"
