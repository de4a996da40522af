"""What a training of Wan's forms begins as: a text-to-video model that is widened, and a base with adapters that do nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.models import zoo
from stage_jax.models.patchify import BASE
from stage_jax.training.state import split_params
from stage_jax.training.tasks import make_task
from stage_jax.training.tasks.lora import FROZEN
from stage_jax.weights.folder import write_part
from tests.generate import videos
from tests.training import sizes
from tests.training.step2_folders import write_sft

T2V = dataclasses.replace(videos.DIT, scan_layers=True)
FLF2V = dataclasses.replace(T2V, in_channels=36)


@pytest.fixture
def start(tmp_path: Path) -> Path:
    """A text-to-video model, and the zoo with its sizes and wider ones."""
    zoo.DITS |= {"test-t2v": T2V, "test-widened": FLF2V, "test-other": dataclasses.replace(FLF2V, ffn_dim=24)}
    return videos.write_wan(tmp_path / "t2v", "t2v")


def config_of(start: Path, **changes: Any) -> ConfigDict:
    common = sizes.common(2) | {
        "name": "start", "task": "flf2v", "model": "test-widened", "encoders": str(start), "init": str(start), "shift": 3.0,
        "caption_dropout": 0.0, "export_dtype": "float32", "data": {"dir": "none", "batch": 2},
        "optimizer": sizes.OPTIMIZER | {"name": "adamw"},
    }  # fmt: skip
    return ConfigDict(common | changes)


def test_a_text_to_video_model_is_widened(start: Path):
    """All of its parameters, and zeros for the new channels; a model of another size, or a wider one, is not taken."""
    plain = make_task(config_of(start, task="t2v", model="test-t2v")).init(jax.random.key(0))
    wide = make_task(config_of(start)).init(jax.random.key(1))
    assert wide.keys() == plain.keys()
    np.testing.assert_array_equal(wide[BASE][:16], plain[BASE])
    assert wide[BASE].shape == (36, *plain[BASE].shape[1:]) and not np.any(wide[BASE][16:])
    for path in plain.keys() - {BASE}:
        np.testing.assert_array_equal(wide[path], plain[path])
    with pytest.raises(InputError, match="t2v: weights of another size: ffn_dim is 16, config.model has 24"):
        make_task(config_of(start, model="test-other")).init(jax.random.key(0))
    write_part(start, "dit", FLF2V, wide)
    with pytest.raises(InputError, match="in_channels is 36, config.model has 16"):
        make_task(config_of(start, task="t2v", model="test-t2v")).init(jax.random.key(0))


def test_a_filler_starts_from_a_filler(tmp_path: Path, vae_folder: Path):
    """From the part `dit` of a model folder, whatever VAE and text it is trained on; one of another size is not taken."""
    sft = write_sft(tmp_path / "sft", vae_folder)
    config = ConfigDict(sizes.filler_config(tmp_path / "none", sft, 1) | {"init": str(tmp_path / "model")})
    fresh = make_task(ConfigDict(config.to_dict() | {"init": None})).init(jax.random.key(0))
    stored = {path: value + 1 for path, value in fresh.items()}
    write_part(tmp_path / "model", "dit", sizes.FILLER, stored)
    found = make_task(config).init(jax.random.key(0))
    assert found.keys() == stored.keys()
    for path, value in stored.items():
        np.testing.assert_array_equal(found[path], value)
    zoo.DITS["test-other"] = dataclasses.replace(sizes.FILLER, ffn_dim=24)
    with pytest.raises(InputError, match="model: weights of another size: ffn_dim is 16, config.model has 24"):
        make_task(ConfigDict(config.to_dict() | {"model": "test-other"})).init(jax.random.key(0))


def test_a_lora_of_a_form_of_wans(start: Path):
    """The base in its type, adapters that change nothing yet, and the one is frozen, the others are trained."""
    lora = {"rank": 2, "alpha": 2.0, "base": "bfloat16"}
    task = make_task(config_of(start, task="t2v", model="test-t2v", lora=lora))
    trained, frozen = split_params(task.init(jax.random.key(0)), FROZEN)
    assert len(trained) == 2 * 10 and all(path.endswith((".lora.a", ".lora.b")) for path in trained)
    plain = make_task(config_of(start, task="t2v", model="test-t2v")).init(jax.random.key(0))
    assert frozen.keys() == plain.keys()
    assert frozen["blocks.ffn.up.kernel"].dtype == jnp.bfloat16 and frozen["head.modulation"].dtype == jnp.float32
    np.testing.assert_array_equal(frozen["blocks.ffn.up.kernel"], plain["blocks.ffn.up.kernel"].astype(jnp.bfloat16))
    rng = np.random.default_rng(0)
    batch = {
        "clip": jnp.asarray(rng.standard_normal((2, 16, 2, 2, 2)), jnp.float16),
        "caption": jnp.asarray(rng.standard_normal((2, 3, 8)), jnp.float16),
    }
    examples = task.draw(batch, jax.random.key(1))
    loss = jax.jit(lambda params: task.loss(params, examples)[0])(frozen | trained)
    expected = jax.jit(lambda params: task.base.loss(params, examples)[0])(frozen)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)  # two programs, of which XLA may sum in another order
