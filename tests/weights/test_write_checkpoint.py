"""The tool that writes random checkpoints of a model's size: whole, by the recipe, in Wan's own form."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import pytest
from safetensors.numpy import load_file

from stage_jax.evaluation.goldens import draw
from stage_jax.models.zoo import DITS
from stage_jax.weights.convert import convert
from tests.tools import load_tool
from tests.weights.checkpoints import STEM


@pytest.fixture(scope="module")
def program():
    return load_tool("write_checkpoint")


def test_entries_are_the_recipes(program, tmp_path: Path):
    """Every entry is what the recipe draws for its name and shape, rounded to the type; the sizes are the model's."""
    assert program.main(["wan2.1-flf2v-tiny", str(tmp_path / "wan"), "--seed", "4"]) == 0
    state = load_file(tmp_path / "wan" / f"{STEM}.safetensors")
    for name, array in state.items():
        assert array.dtype == jnp.bfloat16
        assert array.tobytes() == draw(name, array.shape, 4).astype(jnp.bfloat16).tobytes(), name
    done = convert(tmp_path / "wan", tmp_path / "model")
    assert (done.model, done.config) == ("wan2.1-flf2v-tiny", DITS["wan2.1-flf2v-tiny"])


def test_two_experts_are_two_models(program, tmp_path: Path):
    assert program.main(["wan2.2-i2v-tiny", str(tmp_path / "wan"), "--dtype", "float32"]) == 0
    names = ("high_noise_model", "low_noise_model")
    states = [load_file(tmp_path / "wan" / name / f"{STEM}.safetensors") for name in names]
    for seed, state in enumerate(states):
        key = "blocks.1.ffn.0.weight"
        assert (state[key] == draw(key, state[key].shape, seed)).all()
    assert convert(tmp_path / "wan", tmp_path / "model").model == "wan2.2-i2v-tiny"


def test_refusals(program, tmp_path: Path, capsys: pytest.CaptureFixture):
    assert program.main(["wan3", str(tmp_path / "wan")]) == 2
    assert "write_checkpoint: model: found 'wan3', expected one of wan2.1-t2v-1.3b" in capsys.readouterr().err
    (tmp_path / "mine").write_text("")
    assert program.main(["wan2.1-t2v-tiny", str(tmp_path)]) == 2
    assert "expected a new or empty folder" in capsys.readouterr().err
