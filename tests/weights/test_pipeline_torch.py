"""Exported parts beside diffusers and transformers themselves: their classes load every array, and their folders are read."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from stage_jax.weights.convert import convert
from stage_jax.weights.export import export
from stage_jax.weights.folder import write_part
from stage_jax.weights.kinds import KINDS
from stage_jax.weights.layout import DIFFUSERS
from stage_jax.weights.pipeline import open_pipeline
from stage_jax.weights.table import to_torch
from tests.weights.checkpoints import assert_identical
from tests.weights.pipelines import CLIP, UMT5, VAE, VAE22, arrays, random

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

PARTS = {
    "vae 2.1": ("vae", VAE, "AutoencoderKLWan"),
    "vae 2.2": ("vae", VAE22, "AutoencoderKLWan"),
    "umt5": ("umt5", UMT5, "UMT5EncoderModel"),
    "clip": ("clip", dataclasses.replace(CLIP, text=None), "CLIPVisionModelWithProjection"),
    "clip without projection": ("clip", dataclasses.replace(CLIP, text=None, projection=None), "CLIPVisionModel"),
}


@pytest.mark.parametrize("case", PARTS)
def test_from_pretrained_and_save_pretrained(tmp_path: Path, case: str):
    """Every array is in the model that `from_pretrained` makes, and none is left over; what it saves is read bit for bit."""
    part, config, name = PARTS[case]
    write_part(tmp_path / "model", part, config, random(part, config))
    export(tmp_path / "model", tmp_path / "there", "diffusers")
    library = diffusers if part == "vae" else transformers
    model, report = getattr(library, name).from_pretrained(tmp_path / "there" / DIFFUSERS[part], output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    expected = to_torch(arrays(tmp_path / "model", part), KINDS[part].table(config), naming="diffusers")
    bare = "vision_model." if name == "CLIPVisionModel" else ""  # transformers 5 leaves it out
    state = {f"{bare}{key}": value.float().numpy() for key, value in model.state_dict().items()}
    assert state.keys() - expected.keys() <= {"encoder.embed_tokens.weight"}
    for key, array in expected.items():
        np.testing.assert_array_equal(state[key], array)
    model.save_pretrained(tmp_path / "saved" / DIFFUSERS[part])
    for saved in (tmp_path / "saved", tmp_path / "saved" / DIFFUSERS[part]):
        found = open_pipeline(saved).part(part)
        assert found.config == config
        assert_identical({path: found.read(path) for path in found.specs}, arrays(tmp_path / "model", part))


@pytest.mark.parametrize("case", ["vae 2.1", "vae 2.2", "umt5", "clip"])
def test_what_torch_saves(tmp_path: Path, case: str):
    """A .pth that torch itself has written, in Wan's own names and in bfloat16."""
    part, config, _ = PARTS[case]
    write_part(tmp_path / "model", part, config, random(part, config), dtype="bfloat16")
    torch_names = to_torch(arrays(tmp_path / "model", part), KINDS[part].table(config))
    state = {key: torch.from_numpy(array.astype(np.float32)).bfloat16() for key, array in torch_names.items()}
    torch.save(state, tmp_path / "weights.pth")
    assert convert(tmp_path / "weights.pth", tmp_path / "again").config == config
    assert_identical(arrays(tmp_path / "again", part), arrays(tmp_path / "model", part))
