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
from stage_jax.models.stacking import flat_params, with_params
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


def test_a_step_of_the_decoder_moves_it_and_no_latent(tmp_path: Path):
    write_toy_records(tmp_path / "toy", {"train": 1}, size=16)
    config = ConfigDict(sizes.vae_config(tmp_path / "toy", 1))
    task = make_task(config)
    start = task.init(jax.random.key(0))
    trained, frozen = split_params(start, "^(encoder|quant)")
    rng = np.random.default_rng(0)
    video = jnp.asarray(rng.integers(0, 256, (2, 5, 16, 16, 3)), jnp.uint8)
    examples = task.draw(video, jax.random.key(1))
    slopes = jax.jit(jax.grad(lambda moved: task.loss(frozen | moved, examples)[0].sum()))(trained)
    assert all(bool(jnp.any(slope != 0)) for path, slope in slopes.items() if path.endswith("kernel"))
    moved = {path: value - 0.1 * slopes[path] for path, value in trained.items()}

    def seen(params):
        model, pictures = with_params(task.model, params), video / 127.5 - 1
        mean = model.moments(pictures)[0]
        return mean, model.reconstruct(mean)

    (latents, pictures), (latents_after, pictures_after) = jax.jit(seen)(start), jax.jit(seen)(frozen | moved)
    np.testing.assert_array_equal(latents, latents_after)
    assert float(jnp.abs(pictures - pictures_after).max()) > 1e-4


def test_what_a_vae_is_trained_by(tmp_path: Path):
    """L1 and MSE to the video, or a weight times the mean of each frame's ln MSE; and kl times the divergence from N(0, 1),
    each from its definition."""
    write_toy_records(tmp_path / "toy", {"train": 1}, size=16)
    config = ConfigDict(sizes.vae_config(tmp_path / "toy", 1))
    task = make_task(config)
    params = task.init(jax.random.key(0))
    video = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 5, 16, 16, 3)), jnp.uint8)
    examples = task.draw(video, jax.random.key(1))
    model, pictures = with_params(task.model, params), video / 127.5 - 1
    mean, log_variance = (np.asarray(part, np.float64) for part in model.moments(pictures))
    std = np.exp(log_variance / 2)
    shown = model.reconstruct(jnp.asarray(mean + std * np.asarray(examples["noise"]), jnp.float32))
    off = np.asarray(shown, np.float64) - np.asarray(pictures, np.float64)
    error = np.abs(off).mean((1, 2, 3, 4)) + np.square(off).mean((1, 2, 3, 4))
    # the divergence of N(mean, std) from N(0, 1) by its cross entropy less its entropy, summed over the latent
    divergence = (np.square(mean) + np.square(std)) / 2 - np.log(std) - 0.5
    kl = divergence.sum((1, 2, 3, 4)) / video[0].size

    def loss(**values: float) -> np.ndarray:
        return np.asarray(make_task(ConfigDict(config.to_dict() | values)).loss(params, examples)[0])

    np.testing.assert_allclose(loss(kl=0.0), error, rtol=1e-4)
    np.testing.assert_allclose(loss(kl=2.0) - loss(kl=0.0), 2 * kl, rtol=1e-3)
    decibels = 0.25 * np.log(np.square(off).mean((2, 3, 4))).mean(1)
    np.testing.assert_allclose(loss(kl=0.0, decibels=0.25), decibels, rtol=1e-3)


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
