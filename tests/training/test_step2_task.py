"""STEP2's training beyond the tiny model's settings: other recipes, other starts, frozen captions, boards on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from ml_collections import ConfigDict
from PIL import Image

from data_pipeline.toy_records import write_toy_records
from stage_jax.errors import InputError
from stage_jax.generate.models import load_models
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.training.boards import EvaluationBoards
from stage_jax.training.tasks import make_task
from stage_jax.training.tasks.step2_start import PATCHES, start_dit, start_sizes
from stage_jax.training.train import train
from stage_jax.weights.folder import read_manifest, write_part
from tests.training import sizes
from tests.training.step2_folders import write_sft

WAN = dataclasses.replace(sizes.STEP2, in_channels=16)


def params_of(config, seed: int = 0) -> dict[str, jax.Array]:
    shapes = flat_params(nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0))))
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return {n: jax.random.normal(key, leaf.shape) for key, (n, leaf) in zip(keys, sorted(shapes.items()), strict=True)}


def test_wan_grows_channels_and_an_image_branch_that_have_no_say_at_the_start(tmp_path: Path):
    wan = params_of(WAN)
    write_part(tmp_path, "dit", WAN, wan)
    wider = start_sizes(dataclasses.replace(WAN, image_dim=6), STEP2Config(image_tokens=True), None)
    assert (wider.in_channels, wider.image_dim, wider.image_positions) == (20, 6, None)
    fresh = params_of(wider, 1)
    found = start_dit(tmp_path, wider, fresh, lambda: fresh)
    assert found.keys() == fresh.keys()
    np.testing.assert_array_equal(found[PATCHES][:16], wan[PATCHES])
    assert not found[PATCHES][16:].any() and not found["blocks.0.cross_attention.value_image.kernel"].any()
    for name, value in wan.items():
        if name != PATCHES:
            np.testing.assert_array_equal(found[name], value)
    wrong = {"blocks.0.ffn.up.bias": r"found \(16,\), expected \(5,\)", "blocks.7.ffn.up.bias": "found no blocks.7"}
    for name, message in wrong.items():
        with pytest.raises(InputError, match=message):
            start_dit(tmp_path, WAN, {name: jnp.zeros(5)}, dict)


def test_a_start_is_asked_for(records: Path, vae_folder: Path):
    config = sizes.step2_config(records, vae_folder, 1)
    for missing in ("vae", "text_encoder"):
        with pytest.raises(InputError, match=f"config.{missing}: not found, expected a name, or a model folder as config.init"):
            make_task(ConfigDict({name: value for name, value in config.items() if name != missing}))
    with pytest.raises(InputError, match="config.recipe.packing: found 'all'"):
        make_task(ConfigDict(config | {"recipe": {"packing": "all"}}))


@pytest.mark.slow
def test_the_releases_recipe_from_wan_with_frozen_captions(tmp_path: Path, records: Path, vae_folder: Path):
    """From a folder with Wan's DiT, its text encoder and VAE: STEP2's folder has its recipe and draws boards; memory is noised,
    a frame hidden."""
    start = write_sft(tmp_path / "wan", vae_folder)
    write_part(start, "dit", WAN, params_of(WAN))
    manifest = start / "model.json"
    manifest.write_text(manifest.read_text().replace('"step2"', '"was_step2"'))
    recipe = {"layout": "stacked", "packing": "release", "hints": False, "ranking": "latent", "memory_noise": 0.3}
    zoo.DITS["test-wan"] = WAN
    config = sizes.step2_config(records, vae_folder, 2) | {"init": str(start), "model": "test-wan", "recipe": recipe}
    config["dropout"] = config["dropout"] | {"frame": 0.5}
    config["boards"] = {"every": 2, "split": "train", "stories": 1}
    del config["text_encoder"], config["vae"]
    train(ConfigDict(config), tmp_path / "run", lambda line: None)
    folder = tmp_path / "run" / "model"
    models = load_models(folder, fill=False)
    assert models.step2.recipe == dataclasses.replace(TINY, **recipe)
    assert [path.name for path in (tmp_path / "run" / "boards").iterdir()] == ["00000002.png"]
    hashes = [read_manifest(f)["parts"]["umt5"]["sha256"] for f in (start, folder)]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_boards_on_the_way(tmp_path: Path, vae_folder: Path):
    """True frames above drawn ones; other parameters give other pictures by the same program."""
    write_toy_records(tmp_path / "toy", {"train": 1, "validation": 2}, size=sizes.SIDE, clips=False)
    config = sizes.step2_config(tmp_path / "toy", vae_folder, 1)
    config["boards"] = {"every": 10, "split": "validation", "stories": 2}
    task = make_task(ConfigDict(config))
    boards = EvaluationBoards(ConfigDict(config), task, tmp_path)
    assert [step for step in range(1, 31) if boards.is_due(step)] == [10, 20, 30]
    params = {n: v + 0.05 for n, v in task.init(jax.random.key(0)).items()}
    first = np.asarray(Image.open(boards(params, 10)))
    second = np.asarray(Image.open(boards({n: v * 1.1 for n, v in params.items()}, 20)))
    assert {path.name for path in (tmp_path / "boards").iterdir()} == {"00000010.png", "00000020.png"}
    step = sizes.SIDE + 2
    assert first.shape[0] == 4 * step + 2
    rows = [[picture[2 + r * step : (r + 1) * step] for r in range(4)] for picture in (first, second)]
    assert all((rows[0][r] == rows[1][r]).all() == (r % 2 == 0) for r in range(4))
    assert boards._program._cache_size() == 1
