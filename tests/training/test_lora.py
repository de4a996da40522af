"""Training adapters alone: what is in the state, what stays as it was, and what is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from safetensors.numpy import load_file

from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.training import train as loop
from stage_jax.training.checkpoints import read_weights
from stage_jax.training.tasks import filler, make_task, vae
from stage_jax.training.train import train
from stage_jax.weights.lora_folder import read_loras
from tests.training.small_dit import LORA, SmallTask, lora_config, lora_task, write_base
from tests.training.toy import ToyTask, toy_config


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigDict:
    monkeypatch.setattr(loop, "make_task", lora_task)
    return lora_config(write_base(tmp_path / "base"))


@pytest.mark.slow
def test_adapters_alone_are_trained(config: ConfigDict, tmp_path: Path):
    """The state holds adapters in float32 and no base, which is bfloat16 and stays as it was; the loss falls; what is left is
    a LoRA of the weights' average, bit for bit."""
    said: list[str] = []
    state = train(config, tmp_path / "run", said.append)
    count = sum(value.size for value in state.params.values())
    assert len(state.params) == 2 * 5 and count == 5 * 2 * 2 * 16
    assert {value.dtype.name for value in state.params.values()} == {"float32"}
    assert said[0].startswith(f"toy: {count:,} parameters and ") and " frozen, steps 0 to 6" in said[0]
    assert {leaf.shape for leaf in jax.tree.leaves(state.opt)} - {()} == {value.shape for value in state.params.values()}
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert losses[-1] < 0.95 * losses[0]

    lora = read_loras(tmp_path / "run" / "model")["dit"]
    assert lora.factors.keys() == state.ema.keys() and set(lora.alphas.values()) == {4.0}
    for path, factor in state.ema.items():
        np.testing.assert_array_equal(lora.factors[path], factor)
    start = lora_task(config).init(jax.random.key(config.seed))
    kernels = {str(value.dtype) for path, value in start.items() if path.endswith("kernel") and "time" not in path}
    assert kernels == {"bfloat16"} and start["blocks.0.norm_cross.scale"].dtype == jnp.float32
    path = tmp_path / "a.safetensors"
    assert cli.main(["export", str(tmp_path / "run" / "model"), str(path), "--format", "comfy", "--lora"]) == 0
    assert len(load_file(path)) == 3 * 5


@pytest.mark.slow
def test_goes_on_from_adapters_alone(config: ConfigDict, tmp_path: Path):
    """Checkpoints hold no base; a run that went on from one ends as one that was not stopped. Adapters and their average are
    read without the optimiser and the place in the data."""
    state = train(config, tmp_path / "run", lambda line: None)
    alone = tmp_path / "alone" / "checkpoints" / "6"
    shutil.copytree(tmp_path / "run" / "checkpoints" / "6", alone, ignore=shutil.ignore_patterns("opt", "data"))
    for name in ("params", "ema"):
        step, weights = read_weights(tmp_path / "alone", state.params, name)
        assert step == 6 and weights.keys() == state.params.keys()
        for path, value in getattr(state, name).items():
            np.testing.assert_array_equal(weights[path], value)
    (tmp_path / "run" / "checkpoints" / "6").rename(tmp_path / "gone")
    size = sum(file.stat().st_size for file in (tmp_path / "run" / "checkpoints").rglob("*") if file.is_file())
    assert size < 100_000 < (tmp_path / "base" / "dit" / "model.safetensors").stat().st_size * 4
    again = train(config, tmp_path / "run", lambda line: None)
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lora": {"rank": 2}}, "config.lora.alpha: not found, expected a number"),
        ({"lora": LORA | {"base": "int8"}}, "config.lora.base: found 'int8', expected float32 or bfloat16"),
        ({"lora": LORA}, "config.init: not found, expected the trained model"),
        ({"lora": LORA, "init": "x", "frozen": "a"}, "config.frozen: found beside config.lora"),
        ({"lora": LORA, "init": "x", "task": "vae"}, "config.lora: found with config.task vae, expected a task of Wan's"),
    ],
)
def test_configs_that_cannot_be(changes: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(filler, "FillerTask", SmallTask)
    monkeypatch.setattr(vae, "VAETask", ToyTask)
    with pytest.raises(InputError, match=said):
        make_task(toy_config(1, **{"task": "filler"} | changes))
