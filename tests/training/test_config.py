"""What a config must say, and what a run that has begun may still change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.training.config import check_config, keep_config
from stage_jax.training.train import train
from tests.training import sizes
from tests.training.toy import toy_config


def quiet(line: str) -> None:
    assert "\n" not in line


def test_another_config_is_refused_with_the_difference(tmp_path: Path):
    keep_config(toy_config(4, ema=None), tmp_path)
    check_config(toy_config(4), tmp_path / "other")
    with pytest.raises(InputError) as caught:
        check_config(toy_config(5, seed=4, data={"dir": "none", "window": 9}, accumulate=2), tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'}: this run was started with another config: accumulate was nothing and is 2; "
        "data.window was nothing and is 9; ema was nothing and is 0.9; seed was 3 and is 4; steps was 4 and is 5"
    )


def test_what_steps_do_not_depend_on_may_change(tmp_path: Path):
    keep_config(toy_config(4), tmp_path)
    changes = {
        "log_every": 2, "checkpoint_every": 7, "name": "new", "most_skipped": 3, "peak_flops": 1e12,
        "profile": {"first": 1, "count": 1}, "data": {"dir": "none", "workers": 2},
        "evaluate": {"every": 2, "split": "validation", "batches": 1, "bands": 2},
    }  # fmt: skip
    check_config(toy_config(4, **changes), tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["name"] == "toy"


@pytest.mark.parametrize("damaged", ["{", "[]", "\x80"])
def test_a_damaged_config_of_a_run_is_named(tmp_path: Path, damaged: str):
    (tmp_path / "config.json").write_bytes(damaged.encode("latin-1"))
    with pytest.raises(InputError, match="expected the config that this run was started with"):
        check_config(toy_config(4), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "dance"}, "config.task: found 'dance'"),
        ({"model": "huge"}, "model: found 'huge'"),
        ({"data": {"dir": "nowhere"}}, "nowhere: found no dataset_info.json"),
    ],
)
def test_a_config_that_cannot_run_leaves_nothing(tmp_path: Path, records: Path, change: dict, message: str):
    """So that it can be corrected and started again in the same place."""
    config = sizes.vae_config(records, 1) | {"model": "test-shallow"}
    changed = config | {k: config[k] | v if isinstance(v, dict) else v for k, v in change.items()}
    with pytest.raises(InputError, match=message):
        train(ConfigDict(changed), tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


REQUIRED = (
    "name", "task", "model", "seed", "steps", "log_every", "checkpoint_every", "optimizer", "data",
    "optimizer.name", "optimizer.lr", "optimizer.adam_only", "data.dir", "text_encoder", "dropout.history", "data.batch",
)  # fmt: skip


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_values_are_named(tmp_path: Path, name: str):
    config = ConfigDict(sizes.step2_config(tmp_path / "records", tmp_path / "vae", 1))
    check_config(config, tmp_path / "run")
    *groups, last = name.split(".")
    del (config[groups[0]] if groups else config)[last]
    with pytest.raises(InputError, match=rf"^config\.{name}: not found, expected [^\n]+$"):
        train(config, tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"log_every": 0}, r"config.log_every: found 0, expected a whole number above 0"),
        ({"steps": -1}, r"config.steps: found -1"),
        ({"steps": True}, r"config.steps: found True"),
        ({"checkpoint_every": 2.5}, r"config.checkpoint_every: found 2.5"),
        ({"seed": -3}, r"config.seed: found -3, expected a whole number, 0 or more"),
        ({"ema": float("nan")}, r"config.ema: found nan, expected a number from 0 to 1"),
        ({"optimizer": "muon"}, r"config.optimizer: found 'muon', expected a group of values"),
        ({"model": None}, r"config.model: found None, expected a name"),
        ({"accumulate": 0}, r"config.accumulate: found 0, expected a whole number above 0"),
        ({"frozen": "("}, r"config.frozen: found '\(', expected a pattern of parameters' names"),
        ({"profile": {"first": 3}}, r"config.profile.count: not found, expected a whole number above 0"),
        ({"evaluate": {"every": 3, "split": "test", "batches": 0, "bands": 2}}, r"config.evaluate.batches: found 0"),
        ({"evaluate": {"every": 3, "split": "test", "batches": 1, "bands": 2}, "log_every": 2},
         r"config.evaluate.every: found 3, expected a multiple of log_every, 2"),
        ({"kl": "much"}, r"config.kl: found 'much', expected a number"),
    ],
)
def test_values_of_the_wrong_kind_are_named(tmp_path: Path, change: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message) as caught:
        train(ConfigDict(sizes.vae_config(tmp_path / "records", 1) | change), tmp_path / "run", quiet)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()
