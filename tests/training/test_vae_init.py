"""Fine-tuning a VAE: from which weights, which of them, and what its latents are known by afterwards."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict

from data_pipeline.toy_records import write_toy_records
from stage_jax.cli.config_file import load_config
from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.training.state import split_params
from stage_jax.training.tasks import make_task
from stage_jax.weights.folder import read_part, write_part
from tests.training import sizes

CONFIG = str(Path(__file__).parents[2] / "configs" / "wan_vae_decoder.py")


def test_the_decoder_alone_is_trained_and_latents_stay_what_they_are(tmp_path: Path):
    given = dataclasses.replace(sizes.SHALLOW, latent_std=(3.0,) * 16)
    form = nnx.eval_shape(lambda: VAE(given, nnx.Rngs(0)))
    rng = np.random.default_rng(0)
    params = {path: jnp.asarray(rng.normal(size=leaf.shape), jnp.float32) for path, leaf in flat_params(form).items()}
    write_part(tmp_path / "given", "vae", given, params)
    overrides = [f"--config.init={tmp_path / 'given'}", "--config.model=test-shallow", "--config.export_dtype=float32"]
    config = load_config(f"{CONFIG}:tiny", overrides)
    task = make_task(config)
    start = task.init(jax.random.key(0))
    trained, frozen = split_params(start, config.frozen)
    assert {path.split(".")[0] for path in trained} == {"decoder", "post_quant"}
    assert {path.split(".")[0] for path in frozen} == {"encoder", "quant"}
    for path, value in params.items():
        np.testing.assert_array_equal(start[path], value, err_msg=path)
    task.export(start, tmp_path / "tuned")
    assert read_part(tmp_path / "tuned", "vae", VAEConfig)[0] == given
    assert load_config(f"{CONFIG}:tiny,all").frozen is None
    with pytest.raises(InputError, match=r"given: weights of another size: multipliers is \(1, 1\), config.model has"):
        make_task(load_config(f"{CONFIG}:tiny", [overrides[0], "--config.model=test"]))


@pytest.mark.parametrize(("clips", "name", "words"), [
    (False, "window", "window: found 5, expected at most the 0 frames of a clip in"),
    (True, "frames", "frames: found 18, expected at most the 17 frames"),
])  # fmt: skip
def test_clips_that_are_too_short_are_told_before_the_first_step(tmp_path: Path, clips: bool, name: str, words: str):
    write_toy_records(tmp_path / "toy", {"train": 1}, clips=clips, size=16)
    config = ConfigDict(sizes.vae_config(tmp_path / "toy", 1))
    if clips:
        config.data[name] = 18
    with pytest.raises(InputError, match=f"config.data.{words}"):
        make_task(config).batches()


def test_statistics_over_fewer_clips_than_are_encoded_at_once(tmp_path: Path):
    write_toy_records(tmp_path / "toy", {"train": 1}, size=16)
    config = ConfigDict(sizes.vae_config(tmp_path / "toy", 1))
    config.data.statistics = 3
    task = make_task(config)
    task.export(task.init(jax.random.key(0)), tmp_path / "model")
    found = read_part(tmp_path / "model", "vae", VAEConfig)[0]
    assert np.isfinite(found.latent_mean).all() and min(found.latent_std) > 0 and found.latent_std != task.sizes.latent_std
