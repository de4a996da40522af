"""The cache of latents: what it holds, and whose it is."""

from __future__ import annotations

import dataclasses
import json
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from data_pipeline import latents
from data_pipeline.cache import open_cache
from data_pipeline.latents import open_latents
from data_pipeline.records import Example, Shape, open_records, write_records
from data_pipeline.toy_cinema import world
from data_pipeline.toy_records import toy_example, write_toy_records
from data_pipeline.triplets import altered
from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.recipes.wan import flf2v_condition
from stage_jax.story.types import story_from_json
from stage_jax.weights.folder import part_hash, write_part
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
    ours, theirs = (part_hash(folder, "vae")[:12] for folder in (place / "model", tmp_path / "other"))
    with pytest.raises(InputError, match=f"train-pairs: made by the vae {ours}, expected {theirs}; remove it") as caught:
        open_latents(place / "toy", "train", "pairs", tmp_path / "other")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"stories": []}'])
def test_a_damaged_index_is_told_in_one_line(text: str, place: Path, vae: VAE, tmp_path: Path):
    write_toy_records(tmp_path / "toy", {"train": 1}, size=16, clips=False)
    (tmp_path / "toy" / "latents" / "train-pairs").mkdir(parents=True)
    (tmp_path / "toy" / "latents" / "train-pairs" / "index.json").write_text(text)
    with pytest.raises(InputError, match="index.json: not the index of a cache") as caught:
        open_latents(tmp_path / "toy", "train", "pairs", place / "model")
    assert "\n" not in str(caught.value)


def encoded(vae: VAE, pictures: np.ndarray) -> np.ndarray:
    return np.asarray(jax.jit(vae.encode)(jnp.asarray(pictures, jnp.float32) / 127.5 - 1))


def cast(example: Example) -> list[dict]:
    return json.loads(example.story)["characters"]


def test_interior_and_rejected_frames_and_references(place: Path, vae: VAE, tmp_path: Path):
    """Those that a preference rejects are kept with the shot that each is of, and references with the character."""
    first, second = (toy_example(world.random_story(seed), clips=False, size=16) for seed in (0, 1))
    worse = np.random.default_rng(0).integers(0, 256, (4, 16, 16, 3), np.uint8)
    told = dataclasses.replace(second, preferences='[{"shot": 2, "why": "a"}, {"shot": 0, "why": "b"}]', rejected=worse)
    views = np.random.default_rng(1).integers(0, 256, (2 * len(cast(second)), 16, 16, 3), np.uint8)
    told = dataclasses.replace(told, references=views)
    write_records(tmp_path / "toy", {"train": [first, told]}, Shape(16, 16, 2, 0), {})
    interior = open_latents(tmp_path / "toy", "train", "interior", place / "model")
    assert interior.latents.shape == (first.shots + second.shots, 2, 16, 4, 4) and interior.shot_rows == ()
    frames = second.frames.reshape(-1, 4, 1, 16, 16, 3)
    np.testing.assert_allclose(interior.latents[first.shots + 1], encoded(vae, frames[1, 2:])[:, :, 0], atol=4e-3)
    rejected = open_latents(tmp_path / "toy", "train", "rejected", place / "model")
    assert rejected.shot_rows == (first.shots + 2, first.shots) and rejected.latents.shape == (2, 2, 16, 4, 4)
    np.testing.assert_allclose(rejected.latents[1], encoded(vae, worse[2:, None])[:, :, 0], atol=4e-3)
    references = open_latents(tmp_path / "toy", "train", "references", place / "model")
    assert references.characters == tuple(len(cast(first)) + i for i in range(len(cast(second))) for _ in range(2))
    assert references.shot_rows == () and references.latents.shape == (len(views), 1, 16, 4, 4)
    np.testing.assert_allclose(references.latents[1], encoded(vae, views[1:2, None])[:, :, 0], atol=4e-3)
    write_toy_records(tmp_path / "plain", {"train": 1}, size=16, clips=False)
    with pytest.raises(InputError, match="plain: found no rejected pictures in split 'train', expected some"):
        open_latents(tmp_path / "plain", "train", "rejected", place / "model")


def test_altered_clips(place: Path, vae: VAE):
    """Each by the number of its shot among all, so that a cache is the same however often it is made."""
    cache = open_latents(place / "toy", "train", "altered", place / "model")
    records = open_records(place / "toy", "train")
    shots = records[0]["shots"]
    assert cache.latents.shape == (shots + records[1]["shots"], 1, 16, 5, 4, 4)
    clip = altered(records[1]["clips"][17:34], np.random.default_rng(shots + 1))
    np.testing.assert_allclose(cache.latents[shots + 1, 0], encoded(vae, clip[None])[0], atol=4e-3)


def test_an_opened_cache_is_sent_to_workers_by_name(place: Path, vae: VAE):
    cache = open_latents(place / "toy", "train", "pairs", place / "model")
    data = pickle.dumps(cache)
    assert cache.latents.tobytes()[:64] not in data and b"latents.npy" in data
    copy = pickle.loads(data)
    np.testing.assert_array_equal(copy.latents, cache.latents)
    assert (copy.stories, copy.first_shot) == (cache.stories, cache.first_shot)


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


def test_of_several_that_miss_a_cache_one_builds_it(tmp_path: Path):
    builds = []

    def build(folder: Path) -> dict[str, list]:
        builds.append(folder)
        time.sleep(0.5)  # the others come meanwhile
        return {"stories": []}

    with ThreadPoolExecutor(3) as pool:
        opened = [pool.submit(open_cache, tmp_path / "latents" / "train", {"vae": "0"}, build) for _ in range(3)]
        assert [one.result() for one in opened] == [{"vae": "0", "stories": []}] * 3
    assert len(builds) == 1 and [path.name for path in tmp_path.iterdir()] == ["latents"]
