"""The loop: its config, its log, its state, and what it writes at the end."""

from __future__ import annotations

import dataclasses
import errno
import functools
import json
import shutil
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.generate.models import load_models
from stage_jax.models.vae_config import VAEConfig
from stage_jax.training.checkpoints import Checkpoints
from stage_jax.training.optimizer import learning_rate, make_optimizer
from stage_jax.training.state import init_state, make_train_step
from stage_jax.training.train import MetricsLog, check_config, keep_config, train
from stage_jax.weights.folder import read_manifest, read_part
from tests.training import sizes


def quiet(line: str) -> None:
    assert "\n" not in line


@pytest.mark.slow
def test_the_three_trainings_make_a_model_folder_for_films(tmp_path: Path, records: Path):
    """VAE, then STEP2 on it, then the filler on both: the last one's folder holds all that a film needs."""
    # A copy of its own: the shared records may hold the latents of another test's VAE, which are rightly refused.
    records = shutil.copytree(records, tmp_path / "records", ignore=shutil.ignore_patterns("latents"))
    said: list[str] = []
    train(ConfigDict(sizes.vae_config(records, 1)), tmp_path / "vae", said.append)
    assert said[0].endswith("steps 0 to 1") and said[1].startswith("step 1/1  loss ")
    config, _ = read_part(tmp_path / "vae" / "model", "vae", VAEConfig)
    assert min(config.latent_std) > 0 and config.latent_std != sizes.VAE.latent_std
    train(ConfigDict(sizes.step2_config(records, tmp_path / "vae" / "model", 1)), tmp_path / "step2", quiet)
    train(ConfigDict(sizes.filler_config(records, tmp_path / "step2" / "model", 1)), tmp_path / "filler", quiet)
    folder, said = tmp_path / "filler" / "model", []
    again = train(ConfigDict(sizes.filler_config(records, tmp_path / "step2" / "model", 1)), tmp_path / "filler", said.append)
    assert int(again.step) == 1 and len(said) == 1 and said[0].endswith("steps 1 to 1")  # done is done
    assert set(read_manifest(folder)["parts"]) == {"vae", "umt5", "step2", "dit"}
    models = load_models(folder)
    assert models.step2 is not None and models.filler.sampling["frames"] == sizes.FRAMES
    assert models.hashes["vae"] == read_manifest(tmp_path / "vae" / "model")["parts"]["vae"]["sha256"]


def test_another_config_is_refused(tmp_path: Path, records: Path):
    config = sizes.vae_config(records, 1)
    keep_config(ConfigDict(config), tmp_path / "run")
    for changed in (config | {"seed": 4}, config | {"data": config["data"] | {"window": 9}}):
        with pytest.raises(InputError, match="another config; they differ in (seed|data)$") as caught:
            train(ConfigDict(changed), tmp_path / "run", quiet)
        assert str(tmp_path / "run" / "config.json") in str(caught.value)


@pytest.mark.parametrize("damaged", ["{", "[]", "\x80"])
def test_a_damaged_config_of_a_run_is_named(tmp_path: Path, records: Path, damaged: str):
    (tmp_path / "config.json").write_bytes(damaged.encode("latin-1"))
    with pytest.raises(InputError, match="expected the config that this run was started with"):
        train(ConfigDict(sizes.vae_config(records, 1)), tmp_path, quiet)


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
    config = sizes.vae_config(records, 1)
    changed = config | {k: config[k] | v if isinstance(v, dict) else v for k, v in change.items()}
    with pytest.raises(InputError, match=message):
        train(ConfigDict(changed), tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


def test_log_drops_what_a_lost_try_wrote(tmp_path: Path):
    path = tmp_path / "metrics.jsonl"
    log = MetricsLog(path, 0)
    for step in (2, 4, 6):
        log.write(step, {"loss": float(step)}, 1.5)
    with path.open("a") as file:
        file.write('{"step": 8')  # cut short by a kill
    resumed = MetricsLog(path, 4)
    resumed.write(6, {"loss": 0.5}, 2.0)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["step"], line["seconds"], line["loss"]) for line in lines] == [(2, 1.5, 2.0), (4, 3.0, 4.0), (6, 5.0, 0.5)]


def toy_step(seed: int = 0):
    """A step whose loss draws noise, on one parameter."""
    optimizer = optax.adam(0.1)

    def loss(params, batch, key):
        return jnp.square(params["w"] * batch + jax.random.normal(key, params["w"].shape)).mean(), {"seen": batch}

    state = init_state({"w": jnp.arange(1.0, 4.0)}, optimizer)
    return state, make_train_step(loss, optimizer, seed, 0.9)


def test_step_is_pure_and_its_noise_is_the_steps():
    state, step = toy_step()
    a, b = (step(state, jnp.float32(2)) for _ in range(2))
    assert all((x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    assert int(a[0].step) == 1 and set(a[1]) == {"loss", "grad_norm", "seen"}
    other = toy_step(seed=1)[1](state, jnp.float32(2))
    assert float(other[1]["loss"]) != float(a[1]["loss"])
    later = step(dataclasses.replace(state, step=jnp.int32(5)), jnp.float32(2))
    assert float(later[1]["loss"]) != float(a[1]["loss"])


def test_ema_follows_with_a_rising_decay():
    state, step = toy_step()
    expected = np.asarray(state.params["w"], np.float64)
    for done in range(12):
        state, _ = step(state, jnp.float32(1))
        decay = min(0.9, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * np.asarray(state.params["w"])
    np.testing.assert_allclose(state.ema["w"], expected, rtol=1e-5)


def test_a_checkpoint_holds_the_state_of_its_step(tmp_path: Path):
    """Also when the arrays are donated to further steps while it is being written."""
    state, step = toy_step()
    step = jax.jit(step, donate_argnums=0)
    batches = iter(grain.MapDataset.range(100).map(np.float32).to_iter_dataset())
    checkpoints = Checkpoints(tmp_path, every=2)
    for _ in range(5):
        state, _ = step(state, next(batches))
        if int(state.step) == 4:
            expected = [np.array(leaf, copy=True) for leaf in jax.tree.leaves(state)]
        checkpoints.save(state, batches)
    checkpoints.close()

    fresh, _ = toy_step()
    again = iter(grain.MapDataset.range(100).map(np.float32).to_iter_dataset())
    checkpoints = Checkpoints(tmp_path, every=2)
    restored = checkpoints.restore(fresh, again)
    checkpoints.close()
    assert int(restored.step) == 4 and float(next(again)) == 4.0
    assert jax.tree.structure(restored) == jax.tree.structure(fresh)
    for kept, found in zip(expected, jax.tree.leaves(restored), strict=True):
        np.testing.assert_array_equal(kept, found)


@pytest.mark.parametrize("call", ["save", "wait_until_finished"])
def test_a_full_disk_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    """The words are TensorStore's own; Orbax raises them at the next save or at the end."""
    words = "RESOURCE_EXHAUSTED: Error writing: Failed to write 202 bytes to file 22: No space left on device"

    def fail(*_, **__):
        raise ValueError(words)

    state, _ = toy_step()
    checkpoints = Checkpoints(tmp_path, every=1)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.manager, call, fail)
        batches = iter(grain.MapDataset.range(3).to_iter_dataset())
        run = checkpoints.close if call == "wait_until_finished" else functools.partial(checkpoints.save, state, batches)
        with pytest.raises(OSError, match="No space left on device") as caught:
            run()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "checkpoints"))
    checkpoints.close()


REQUIRED = (
    "name", "task", "model", "seed", "steps", "log_every", "checkpoint_every", "ema", "optimizer", "data",
    "optimizer.name", "optimizer.lr", "optimizer.adam_only", "data.dir",
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
    ],
)
def test_values_of_the_wrong_kind_are_named(tmp_path: Path, change: dict, message: str):
    with pytest.raises(InputError, match=message) as caught:
        train(ConfigDict(sizes.vae_config(tmp_path / "records", 1) | change), tmp_path / "run", quiet)
    assert "\n" not in str(caught.value) and not (tmp_path / "run").exists()


def test_learning_rate():
    rate = learning_rate(ConfigDict({"lr": 1.0, "warmup": 4, "flat": 0.5, "final": 0.1}), 20)
    found = [float(rate(i)) for i in range(21)]
    np.testing.assert_allclose(found[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-5)
    np.testing.assert_allclose(found[4:11], 1.0)
    assert (np.diff(found[10:]) < 0).all()
    np.testing.assert_allclose(found[-1], 0.1, rtol=1e-4)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_optimizers_fit_a_matrix(name: str):
    config = ConfigDict(sizes.OPTIMIZER | {"name": name, "lr": 0.05, "weight_decay": 0.0})
    target = {"a.kernel": jax.random.normal(jax.random.key(0), (2, 3, 4)), "a.bias": jnp.ones(4), "head": jnp.ones((2, 2))}
    params = jax.tree.map(jnp.zeros_like, target)
    optimizer = make_optimizer(config, 200, params)

    def error(params):
        return sum(jnp.square(params[k] - target[k]).sum() for k in params)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(error)(params), state, params)
        return optax.apply_updates(params, updates), state

    state, before = optimizer.init(params), float(error(params))
    for _ in range(200):
        params, state = step(params, state)
    assert float(error(params)) < 0.02 * before


def test_unknown_optimizer():
    with pytest.raises(InputError, match="found 'magic', expected muon or adamw"):
        make_optimizer(ConfigDict(sizes.OPTIMIZER | {"name": "magic"}), 1, {})
