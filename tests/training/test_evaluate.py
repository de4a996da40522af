"""Losses on held-out data while a run trains: in which bands, of which examples and of which weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from stage_jax.training import train as loop
from stage_jax.training.evaluate import Evaluation
from stage_jax.training.state import Params, Sums
from tests.training.toy import ROWS, ToyTask, toy_config


class LevelTask(ToyTask):
    """Its losses are the noise levels, the examples and the noise that it is given, each times a parameter."""

    levels = (0.2, 0.8)

    def draw(self, batch: Float[Array, " b"], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> dict[str, Array]:
        return {"sigma": sigma, "x": batch, "noise": jax.random.normal(key, batch.shape)}

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        return sum(params[name] * examples[name] for name in ("sigma", "x", "noise")), {}


def losses(params: dict[str, float], bands: int = 3, batches: int = 5, **changes: Any) -> dict[str, float]:
    evaluate = {"every": 2, "split": "validation", "batches": batches, "bands": bands}
    config = toy_config(9, evaluate=evaluate, **changes)
    weights = {name: jnp.float32(params.get(name, 0)) for name in ("sigma", "x", "noise")}
    return {name: float(value) for name, value in Evaluation(config, LevelTask(config))(weights).items()}


def test_a_band_is_an_equal_part_of_the_levels_that_are_trained_on():
    """A level in each of as many equal parts of a band as a batch has rows: their mean is the band's middle, nearly."""
    found = losses({"sigma": 1.0})
    middles = {"eval_loss_0.20_0.40": 0.3, "eval_loss_0.40_0.60": 0.5, "eval_loss_0.60_0.80": 0.7}
    assert found.keys() == middles.keys() | {"eval_loss"}
    for name, middle in middles.items():
        assert abs(found[name] - middle) < 0.1 / ROWS
    assert found["eval_loss"] == pytest.approx(np.mean([found[name] for name in middles]))
    assert losses({"sigma": 1.0}, bands=1).keys() == {"eval_loss"}


def test_examples_levels_and_noise_are_the_same_in_every_run():
    rows = np.arange(5 * ROWS) % 7  # the first batches of the split
    assert losses({"x": 1.0})["eval_loss"] == pytest.approx(rows.mean())
    everything = {"sigma": 1.0, "x": 1.0, "noise": 1.0}
    assert losses(everything) == losses(everything, seed=4)
    noise = losses({"noise": 1.0}, batches=1)
    assert noise["eval_loss"] != losses({"noise": 1.0}, batches=2)["eval_loss"]  # of each batch its own


def test_what_is_evaluated_is_the_average_of_the_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(loop, "make_task", ToyTask)
    evaluate = {"every": 3, "split": "validation", "batches": 2, "bands": 2}
    config: ConfigDict = toy_config(7, evaluate=evaluate)
    state = loop.train(config, tmp_path, lambda line: None)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "eval_loss" in line] == [3, 6, 7]  # and at the end
    of = {name: Evaluation(config, ToyTask(config))(getattr(state, name)) for name in ("ema", "params")}
    for name, value in of["ema"].items():
        assert lines[-1][name] == pytest.approx(float(value), rel=1e-6)
        assert lines[-1][name] != pytest.approx(float(of["params"][name]), rel=1e-3)
