"""Conversion and export beside diffusers itself: its folders are read, ours are read by it, and both compute the same."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.dit import DiTConfig
from stage_jax.models.sequence import TokenSequence
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.zoo import DITS
from stage_jax.recipes.wan import flf2v_sequence, i2v_sequence, t2v_sequence, ti2v_sequence
from stage_jax.weights.convert import convert
from stage_jax.weights.export import export
from stage_jax.weights.folder import open_part
from stage_jax.weights.stream import load_params
from tests.models.dits import abstract, run
from tests.models.peers import wan_transformer
from tests.weights.checkpoints import STEM, assert_identical

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

FORMS = ["wan2.1-t2v-tiny", "wan2.1-i2v-tiny", "wan2.1-flf2v-tiny", "wan2.2-i2v-tiny", "wan2.2-ti2v-tiny"]
FILE = f"{STEM}.safetensors"
TOLERANCE = 2e-5  # two float32 implementations


@pytest.fixture(autouse=True)
def highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


def random_transformer(config: DiTConfig):
    """diffusers' model of these sizes; no parameter is zero or one, which would hide that two are exchanged."""
    model = wan_transformer(config).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def inputs(config: DiTConfig) -> dict[str, np.ndarray]:
    """Two examples, whose captions are of different lengths: zeros stand past a text."""
    rng = np.random.default_rng(2)
    given = config.in_channels - config.out_channels
    shapes = {"x": (2, config.out_channels, 2, 4, 6), "y": (2, given, 2, 4, 6)}
    shapes["caption"] = (2, config.text_len, config.text_dim)
    if config.image_dim:
        shapes["image"] = (2, 2 if config.image_positions else 1, 257, config.image_dim)
    arrays = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    arrays["caption"][0, 3:] = 0
    return arrays | {"t": np.float32([731.0, 250.0])}


def first_frame_is_clean(config: DiTConfig) -> bool:
    """The form whose tokens have two timesteps."""
    return config == DITS["wan2.2-ti2v-tiny"]


def sequence(config: DiTConfig, given: dict[str, np.ndarray]) -> TokenSequence:
    arrays = {name: jnp.asarray(array) for name, array in given.items()}
    x, y, t, caption = (arrays[name] for name in ("x", "y", "t", "caption"))
    if first_frame_is_clean(config):
        return ti2v_sequence(x[:, :, :1], x[:, :, 1:], t, caption)
    if config.image_positions:
        return flf2v_sequence(x, y, t, caption, arrays["image"])
    if y.shape[1]:
        return i2v_sequence(x, y, t, caption, arrays["image"][:, 0] if config.image_dim else None)
    return t2v_sequence(x, t, caption)


def of_diffusers(model, config: DiTConfig, given: dict[str, np.ndarray]) -> np.ndarray:
    image = torch.from_numpy(given["image"].reshape(-1, 257, config.image_dim)) if config.image_dim else None
    frames, height, width = given["x"].shape[2:]
    tokens = np.arange(frames * height * width // 4) >= height * width // 4  # those past the first latent frame
    timestep = given["t"][:, None] * tokens if first_frame_is_clean(config) else given["t"]
    with torch.no_grad():
        return model(
            hidden_states=torch.from_numpy(np.concatenate([given["x"], given["y"]], axis=1)),
            timestep=torch.from_numpy(timestep.astype(np.float32)),
            encoder_hidden_states=torch.from_numpy(given["caption"]),
            encoder_hidden_states_image=image,
            return_dict=False,
        )[0].numpy()


def ours(folder: Path, config: DiTConfig, given: dict[str, np.ndarray]) -> np.ndarray:
    model = abstract(config)
    params = load_params(open_part(folder, "dit"), None, flat_params(model))
    return np.concatenate(run(with_params(model, params), sequence(config, given), options={}).outputs, axis=2)


@pytest.mark.parametrize("name", FORMS)
def test_there_and_back(tmp_path: Path, name: str):
    """save_pretrained, in shards -> convert -> our forward; export -> from_pretrained -> its forward: one velocity."""
    config = DITS[name]
    theirs, given = random_transformer(config), inputs(config)
    expected = of_diffusers(theirs, config, given)
    theirs.save_pretrained(tmp_path / "theirs" / "transformer", max_shard_size="100KB")
    assert len(list((tmp_path / "theirs" / "transformer").glob("*.safetensors"))) > 1
    done = convert(tmp_path / "theirs", tmp_path / "model")
    assert done.config == config and done.parameters == sum(p.numel() for p in theirs.parameters())
    assert relative_error(ours(tmp_path / "model", config, given), expected) <= TOLERANCE

    export(tmp_path / "model", tmp_path / "back", "diffusers")
    back, report = diffusers.WanTransformer3DModel.from_pretrained(tmp_path / "back" / "transformer", output_loading_info=True)
    assert not any(report[kind] for kind in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    for key, value in theirs.state_dict().items():
        assert torch.equal(value, back.state_dict()[key]), key
    np.testing.assert_array_equal(of_diffusers(back.eval(), config, given), expected)


def test_half_precision(tmp_path: Path):
    """What diffusers saves in bfloat16, some of it kept in float32 as it does, comes back bit for bit."""
    theirs = random_transformer(DITS["wan2.1-t2v-tiny"]).to(torch.bfloat16)
    theirs.scale_shift_table.data = theirs.scale_shift_table.data.float()
    theirs.save_pretrained(tmp_path / "theirs")
    convert(tmp_path / "theirs", tmp_path / "model")
    export(tmp_path / "model", tmp_path / "back", "diffusers")
    saved, back = (load_file(folder / FILE) for folder in (tmp_path / "theirs", tmp_path / "back" / "transformer"))
    assert {array.dtype for array in saved.values()} == {np.dtype(np.float32), jnp.dtype(jnp.bfloat16)}
    assert_identical(back, saved)
    assert diffusers.WanTransformer3DModel.from_pretrained(tmp_path / "back" / "transformer").config.num_layers == 2
