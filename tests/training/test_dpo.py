"""Training by preferences: policy and reference start as one, only the policy moves, and everything is told."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.generate.models import load_models
from stage_jax.models.dit import DiTConfig
from stage_jax.training.state import split_params
from stage_jax.training.tasks import make_task
from stage_jax.training.train import train
from stage_jax.weights.folder import part_hashes, read_part
from tests.training.step2_folders import dpo_config, write_sft


@pytest.fixture(scope="module")
def sft(tmp_path_factory: pytest.TempPathFactory, vae_folder: Path) -> Path:
    return write_sft(tmp_path_factory.mktemp("sft") / "model", vae_folder)


def quiet(line: str) -> None:
    assert "\n" not in line


@pytest.mark.slow
def test_log_2_at_the_start_and_a_gradient_for_the_policy_alone(records: Path, sft: Path):
    config = dpo_config(records, sft, 1)
    config.sft = 0.25
    task = make_task(config)
    trained, frozen = split_params(task.init(jax.random.key(0)), config.frozen)
    assert all(name.startswith("dit.") for name in trained) and {n.split(".")[0] for n in frozen} == {"reference", "umt5"}
    stream = task.batches()
    batch = next(stream)
    stream.close()
    assert batch["chosen"].shape == batch["rejected"].shape == (2, 2, 16, 4, 4)
    examples = task.draw(batch, jax.random.key(1))

    @jax.jit
    def run(trained, frozen, examples):
        def mean(trained):
            losses, sums = task.loss(frozen | trained, examples)
            return losses.mean(), (losses, sums)

        return jax.grad(mean, has_aux=True)(trained)

    grads, (losses, sums) = run(trained, frozen, examples)
    means = {name: float(total / count) for name, (total, count) in sums.items()}
    assert means["loss_dpo"] == pytest.approx(math.log(2)) and means["margin"] == means["accuracy"] == 0
    np.testing.assert_allclose(np.mean(losses), math.log(2) + 0.25 * means["error_chosen"], rtol=1e-5)
    assert all(np.isfinite(g).all() for g in grads.values()) and max(float(abs(g).max()) for g in grads.values()) > 1e-3

    moved = {name: value + 0.01 for name, value in trained.items()}
    swapped = examples | {"chosen": examples["rejected"], "rejected": examples["chosen"]}
    one, other = (run(moved, frozen, e)[1][1]["margin"][0] for e in (examples, swapped))
    np.testing.assert_allclose(one, -other, rtol=1e-3)
    assert abs(float(one)) > 1e-4


def test_a_run_moves_the_policy_and_nothing_else(tmp_path: Path, records: Path, sft: Path):
    config = dpo_config(records, sft, 2)
    train(config, tmp_path / "run", quiet)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    told = {"margin", "accuracy", "pair_accuracy", "reward_chosen", "reward_rejected", "error_chosen", "error_rejected"}
    assert len(lines) == 2 and all(told <= line.keys() for line in lines)
    assert lines[0]["margin"] == 0 and lines[1]["margin"] != 0
    assert lines[0]["loss_dpo"] == pytest.approx(math.log(2))
    assert lines[0]["loss"] == pytest.approx(math.log(2) + 0.5 * lines[0]["error_chosen"])
    folder = tmp_path / "run" / "model"
    hashes = [part_hashes(f) for f in (sft, folder)]
    assert {part for part in hashes[0] if hashes[0][part] != hashes[1][part]} == {"step2"}
    assert read_part(folder, "step2", DiTConfig)[1].keys() == read_part(sft, "step2", DiTConfig)[1].keys()
    assert load_models(folder, fill=False).step2.recipe == load_models(sft, fill=False).step2.recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frozen": "umt5"}, "config.frozen: found 'umt5', expected a pattern that is found in 'reference.'"),
        ({"recipe": {"packing": "off"}}, "config.recipe: found with config.init, expected none"),
        ({"beta": 0.0}, "config.beta: found 0.0, expected a number above 0"),
        ({"init": "nowhere"}, "nowhere/model.json: not found"),
    ],
)
def test_what_cannot_be_is_named(records: Path, sft: Path, change: dict, message: str):
    with pytest.raises(InputError, match=message):
        make_task(dpo_config(records, sft, 1, **change))


def test_given_preferences_and_the_size_of_the_pictures_are_asked_for(records: Path, sft: Path):
    """Toy records of level easy hold no rejected pairs."""
    config = dpo_config(records, sft, 1)
    config.sampling.size = [32, 16]
    with pytest.raises(InputError, match=r"config.sampling.size: found \(32, 16\), expected that of the records, \(16, 16\)"):
        make_task(ConfigDict(config)).batches()
    config.sampling.size = [16, 16]
    config.data.preferences = "both"
    with pytest.raises(InputError, match="found no rejected pictures"):
        make_task(ConfigDict(config)).batches()
