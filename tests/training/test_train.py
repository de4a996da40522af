"""The loop: what it says and writes, how it is stopped, and what it makes at the end."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.generate.models import load_models
from stage_jax.models.vae_config import VAEConfig
from stage_jax.training import train as loop
from stage_jax.training.state import TrainState
from stage_jax.training.train import train
from stage_jax.weights.folder import read_manifest, read_part
from tests.training import sizes
from tests.training.toy import ToyTask, toy_config


def quiet(line: str) -> None:
    assert "\n" not in line


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "make_task", ToyTask)


def lines_of(workdir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def same(a: TrainState, b: TrainState) -> None:
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


def test_stopped_by_sigterm_it_saves_and_goes_on_as_if_nothing_happened(toy: None, tmp_path: Path):
    """With all that a run may have beside its steps."""
    more = {"evaluate": {"every": 2, "split": "validation", "batches": 2, "bands": 2}, "peak_flops": 1e9}
    said: list[str] = []
    whole = train(toy_config(8, frozen="^b", checkpoint_every=100, **more), tmp_path / "whole", said.append)
    assert said[0] == "toy: 3 parameters and 3 frozen, steps 0 to 8" and len(said) == 9
    assert "tokens/s  " in said[1] and "% MFU  " in said[1] and said[8].endswith("  0.0 min left")

    def stop(line: str) -> None:
        if line.startswith("step 3/"):
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    stopped = train(toy_config(8, frozen="^b", checkpoint_every=100, **more), tmp_path / "run", stop)
    assert int(stopped.step) == 4 and not (tmp_path / "run" / "model").exists()  # it was said while step 4 ran
    assert signal.getsignal(signal.SIGTERM) is before
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["4"]
    said = []
    more["profile"] = {"first": 5, "count": 2}
    resumed = train(toy_config(8, frozen="^b", checkpoint_every=2, log_every=2, **more), tmp_path / "run", said.append)
    assert said[0].endswith("steps 4 to 8")
    same(whole, resumed)
    assert list((tmp_path / "run" / "profile").rglob("*.xplane.pb"))

    expected, found = lines_of(tmp_path / "whole"), lines_of(tmp_path / "run")
    assert [line["step"] for line in found] == [1, 2, 3, 4, 6, 8]
    bands = {"eval_loss", "eval_loss_0.00_0.50", "eval_loss_0.50_1.00"}
    timed = {"seconds", "steps_per_second", "tokens_per_second", "mfu"}
    for line in found:
        other = expected[line["step"] - 1]
        assert bands <= set(line) if line["step"] % 2 == 0 else not bands & set(line)
        assert set(line) - bands == {"step", "loss", "grad_norm", "late", "skipped"} | timed
        assert {k: v for k, v in line.items() if k not in timed} == {k: v for k, v in other.items() if k not in timed}
    with np.load(tmp_path / "run" / "model" / "toy.npz") as model:
        np.testing.assert_array_equal(model["a.w"], whole.ema["a.w"])
        np.testing.assert_array_equal(model["b.w"], np.ones(3))


def test_sigterm_ends_the_command_with_zero(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = tmp_path / "config.py"
    config.write_text(f"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({toy_config(50).to_dict()})")
    run = ToyTask.work

    def work(self, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return run(self, batch)

    monkeypatch.setattr(ToyTask, "work", work)
    assert main(["train", "--config", str(config), "--workdir", str(tmp_path / "run")]) == 0
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["1"]


@pytest.mark.parametrize("where", ["batches", "init"])
def test_sigterm_before_the_first_step_ends_the_command_with_zero(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
):
    """At once: what is done before the first step, as encoding a dataset, may take longer than whoever asks waits."""
    config = tmp_path / "config.py"
    config.write_text(f"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({toy_config(3).to_dict()})")
    command = ["train", "--config", str(config), "--workdir", str(tmp_path / "run")]

    def told(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    before = signal.getsignal(signal.SIGTERM)
    with monkeypatch.context() as patch:
        patch.setattr(ToyTask, where, told)
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 0 and signal.getsignal(signal.SIGTERM) is before
    out = capsys.readouterr()
    assert out.out == "toy: stopped by SIGTERM before a step was done; the same command begins again there\n" and not out.err
    assert not (tmp_path / "run").exists()
    assert main(command) == 0


def test_sigterm_after_the_last_step_lets_the_model_be_written(toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    export = ToyTask.export

    def told(self, params, folder):
        os.kill(os.getpid(), signal.SIGTERM)
        export(self, params, folder)

    monkeypatch.setattr(ToyTask, "export", told)
    assert int(train(toy_config(2), tmp_path, lambda line: None).step) == 2
    assert (tmp_path / "model" / "toy.npz").is_file() and (tmp_path / "checkpoints" / "2").is_dir()


def test_steps_that_are_not_finite_are_skipped_and_too_many_end_the_run(toy: None, tmp_path: Path):
    said: list[str] = []
    state = train(toy_config(6, bad=(1, 2), ema=None), tmp_path / "few", said.append)
    assert int(state.skipped) == 2 and np.isfinite(state.params["a.w"]).all() and state.ema is None
    assert [line["loss"] is None for line in lines_of(tmp_path / "few")] == [False, True, True, False, False, False]
    assert "step 3: loss or gradient was not finite in 2 steps so far, which were skipped" in said
    message = r"steps 3 to 5: loss or gradient was not finite 3 times in a row, config.most_skipped is 3; their batches"
    with pytest.raises(InputError, match=message):
        train(toy_config(9, bad=tuple(range(2, 9)), most_skipped=3), tmp_path / "many", quiet)
    assert not (tmp_path / "many" / "model").exists()


def test_a_full_disk_ends_the_run_in_a_line_and_leaves_the_last_checkpoint(
    toy: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    config = tmp_path / "config.py"
    config.write_text(f"from ml_collections import ConfigDict\ndef get_config(): return ConfigDict({toy_config(9).to_dict()})")
    save = loop.Checkpoints.save

    def full(self, step, state, batches):
        if step == 6:
            self.manager.wait_until_finished()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))
        save(self, step, state, batches)

    with monkeypatch.context() as patch:
        patch.setattr(loop.Checkpoints, "save", full)
        assert main(["train", "--config", str(config), "--workdir", str(tmp_path / "run")]) == 2
    assert capsys.readouterr().err == f"stage: {tmp_path / 'run' / 'checkpoints'}: No space left on device\n"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == ["3"]
    assert int(train(toy_config(9), tmp_path / "run", quiet).step) == 9


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
