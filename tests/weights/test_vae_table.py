"""The tables of Wan's VAEs: they cover the published state dicts exactly, and other sizes."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import VAES
from stage_jax.weights.table import Naming, from_torch, to_torch
from stage_jax.weights.vae_table import vae_table

PUBLISHED = Path(__file__).parents[1] / "data" / "state_dicts"
PARAMETERS = {"wan2.1": 126_892_531, "wan2.2": 704_688_668}
SMALL = VAEConfig(base=2, multipliers=(1, 3, 2), res_blocks=1, latent_channels=3, temporal_down=(True, False))


def shapes(config: VAEConfig) -> dict[str, tuple[int, ...]]:
    model = nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))
    return {name: leaf.shape for name, leaf in flat_params(model).items()}


@pytest.mark.parametrize("name", PARAMETERS)
def test_published_keys_and_shapes(name: str):
    """Every key once, with its shape, at full size; nothing is allocated."""
    published = {key: tuple(shape) for key, shape in json.loads((PUBLISHED / f"{name}_vae.json").read_text()).items()}
    by_name = {entry.ours: entry for entry in vae_table(VAES[name])}
    ours = shapes(VAES[name])
    found = {by_name[path].torch: by_name[path].torch_shape(shape) for path, shape in ours.items()}
    assert found == published
    assert len(found) == len(ours)
    assert sum(map(math.prod, ours.values())) == PARAMETERS[name]


@pytest.mark.parametrize("config", [SMALL, VAES["tiny"], VAES["wan2.2-tiny"]], ids=["small", "tiny", "2.2"])
@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_there_and_back(config: VAEConfig, naming: Naming):
    """Names are unique on both sides, and every array comes back as it was."""
    table = vae_table(config)
    assert len({entry.name(naming) for entry in table}) == len({entry.ours for entry in table}) == len(table)
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes(config).items()}
    state = to_torch(params, table, naming=naming)
    assert len(state) == len(params)
    back = from_torch(state, table, params, naming=naming)
    assert back.keys() == params.keys()
    assert all((back[name] == params[name]).all() for name in params)


def test_running_numbers():
    """Blocks and resampling share one number per coder: two blocks, then a change of size, in the decoder of one."""
    names = {entry.ours: entry.torch for entry in vae_table(SMALL)}
    assert names["encoder.stages.2.blocks.0.conv1.kernel"] == "encoder.downsamples.4.residual.2.weight"
    assert names["encoder.stages.0.resample.time_conv.kernel"] == "encoder.downsamples.1.time_conv.weight"
    assert "encoder.stages.1.resample.time_conv.kernel" not in names
    assert names["decoder.stages.1.blocks.1.conv2.kernel"] == "decoder.upsamples.4.residual.6.weight"
    assert names["decoder.stages.1.resample.time_conv.bias"] == "decoder.upsamples.5.time_conv.bias"


def test_what_does_not_fit_is_named_at_once():
    config = SMALL
    params = {name: np.zeros(shape, np.float32) for name, shape in shapes(config).items()}
    state = to_torch(params, vae_table(config))
    del state["conv1.bias"]
    state["encoder.head.0.gamma"] = np.zeros(4, np.float32)  # without its axes of size 1
    state["encoder.downsamples.99.residual.2.bias"] = np.zeros(4, np.float32)
    with pytest.raises(InputError, match="3 entries do not fit") as caught:
        from_torch(state, vae_table(config), params, "vae.pth")
    message = str(caught.value)
    assert message.startswith("vae.pth: ") and "\n" not in message
    for part in ("conv1.bias is missing", "encoder.head.0.gamma is [4], expected [4, 1, 1, 1]", "downsamples.99"):
        assert part in message
