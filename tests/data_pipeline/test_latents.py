"""The cache of latents: what it holds, and whose it is."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipeline import latents
from data_pipeline.latents import open_latents
from data_pipeline.records import open_records, write_toy_records
from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.recipes.wan import flf2v_condition
from stage_jax.story.types import story_from_json
from stage_jax.weights.folder import write_part
from tests.training import sizes


def model(folder: Path, seed: int) -> VAE:
    """Writes a random VAE into a model folder."""
    vae = jax.jit(lambda: VAE(dataclasses.replace(sizes.VAE, latent_std=(2.0,) * 16), nnx.Rngs(seed)))()
    write_part(folder, "vae", vae.config, flat_params(vae))
    return vae


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    write_toy_records(folder / "toy", {"train": 2}, size=16)
    return folder


@pytest.fixture(scope="module")
def vae(place: Path) -> VAE:
    return model(place / "model", 0)


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(latents, "FRAMES", 4)


def test_pairs(place: Path, vae: VAE):
    """Start and end of every shot, each encoded alone; made once."""
    seen = []
    cache = open_latents(place / "toy", "train", "pairs", place / "model", progress=lambda *a: seen.append(a))
    records = open_records(place / "toy", "train")
    shots = [records[i]["shots"] for i in range(2)]
    assert seen == [(1, 2), (2, 2)] and cache.first_shot == (0, shots[0])
    assert cache.stories == tuple(story_from_json(json.loads(records[i]["story"]), "x") for i in range(2))
    assert cache.latents.shape == (sum(shots), 2, 16, 4, 4) and cache.latents.dtype == np.float16
    encode = jax.jit(vae.encode)
    for story, shot in ((0, 0), (0, shots[0] - 1), (1, shots[1] - 1)):
        frames = records[story]["frames"][4 * shot : 4 * shot + 2]
        expected = encode(jnp.asarray(frames[:, None], jnp.float32) / 127.5 - 1)[:, :, 0]
        np.testing.assert_allclose(cache.latents[cache.first_shot[story] + shot], expected, atol=4e-3)
    again = open_latents(place / "toy", "train", "pairs", place / "model", progress=lambda *a: pytest.fail("made again"))
    np.testing.assert_array_equal(again.latents, cache.latents)


def test_clips_with_their_condition(place: Path, vae: VAE):
    cache = open_latents(place / "toy", "train", "clips", place / "model", stories=1)
    record = open_records(place / "toy", "train")[0]
    assert cache.latents.shape == (record["shots"], 2, 16, 5, 4, 4)
    clip = jnp.asarray(record["clips"][17:34], jnp.float32)[None] / 127.5 - 1
    encoded, condition = jax.jit(lambda c: (vae.encode(c), flf2v_condition(vae, c[:, 0], c[:, -1], 17)))(clip)
    np.testing.assert_allclose(cache.latents[1, 0], encoded[0], atol=4e-3)
    np.testing.assert_allclose(cache.latents[1, 1], condition[0, 4:], atol=4e-3)


def test_a_cache_of_another_vae_is_refused(place: Path, vae: VAE, tmp_path: Path):
    open_latents(place / "toy", "train", "pairs", place / "model")
    model(tmp_path / "other", 1)
    with pytest.raises(InputError, match="train-pairs: made by another VAE") as caught:
        open_latents(place / "toy", "train", "pairs", tmp_path / "other")
    assert "\n" not in str(caught.value)


def test_a_cache_of_other_stories_is_refused(place: Path, vae: VAE):
    open_latents(place / "toy", "train", "clips", place / "model", stories=1)
    with pytest.raises(InputError, match="holds 1 stories, expected 2"):
        open_latents(place / "toy", "train", "clips", place / "model")


@pytest.mark.parametrize("kind", ["pairs", "clips"])
def test_what_fails_leaves_no_cache(kind: str, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_toy_records(tmp_path / "toy", {"train": 1}, size=16, clips=False)
    if kind == "pairs":
        model(tmp_path / "model", 0)

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(latents.np, "save", full)
    else:
        model(tmp_path / "model", 0)
    with pytest.raises((OSError, InputError), match="space|hold no clips"):
        open_latents(tmp_path / "toy", "train", kind, tmp_path / "model")
    assert not (tmp_path / "toy" / "latents").exists()
