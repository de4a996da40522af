"""The table of axis rules: what it says of Wan's models, of states, and of what it cannot spread."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params
from stage_jax.models.umt5 import UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.models.zoo import TEXT_ENCODERS, VAES
from stage_jax.parallel import rules
from stage_jax.parallel.mesh import AXES, make_mesh
from stage_jax.training.optimizer import make_optimizer
from tests.parallel import sharding_table
from tests.training.sizes import OPTIMIZER

MEGABYTE = 1 << 20


def test_the_golden_table():
    """Any change of it is a change of what a pod holds: look at it, then `python -m tests.parallel.sharding_table`."""
    assert sharding_table.table() == sharding_table.PATH.read_text()


def devices(path: str, shape: tuple[int, ...], mesh: AbstractMesh) -> int:
    """How many of them hold a part each."""
    spec = rules.parameter_spec(path, shape, 4, mesh)
    axes = [axis for entry in spec if entry for axis in ([entry] if isinstance(entry, str) else entry)]
    return math.prod(mesh.shape[axis] for axis in axes)


@pytest.mark.parametrize("model", sharding_table.MODELS)
@pytest.mark.parametrize("name", sharding_table.MESHES)
def test_nothing_large_is_on_every_device(model: str, name: str):
    """Of arrays above a megabyte each device holds its part over every axis that spreads parameters; of all, hardly more."""
    mesh, held, whole = sharding_table.mesh(name), 0, 0
    parts = mesh.shape["fsdp"] * mesh.shape["tensor"]
    for path, leaf in sharding_table.parameters(model).items():
        spread = devices(path, leaf.shape, mesh)
        size = 4 * math.prod(leaf.shape)
        if size > MEGABYTE:
            narrow = leaf.ndim < 3 or min(leaf.shape[-2:]) < 1024  # too narrow for both axes
            assert spread == parts or (narrow and spread >= mesh.shape["fsdp"]), path
        held, whole = held + size // spread, whole + size
    assert held < 1.01 * whole / parts


OTHERS = {
    "wan2.1's VAE": lambda: VAE(VAES["wan2.1"], nnx.Rngs(0)),
    "wan2.2's VAE": lambda: VAE(VAES["wan2.2"], nnx.Rngs(0)),
    "a layer of umT5": lambda: UMT5Encoder(dataclasses.replace(TEXT_ENCODERS["umt5-xxl"], layers=1), nnx.Rngs(0)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_vaes_and_text_encoders_are_spread_too(name: str):
    """Convolutions by their output channels; some of Wan2.1's are of less than a megabyte, and everywhere."""
    mesh, sizes = sharding_table.mesh("fsdp 8"), []
    for path, leaf in flat_params(nnx.eval_shape(OTHERS[name])).items():
        size, count = 4 * math.prod(leaf.shape), devices(path, leaf.shape, mesh)
        assert count == 8 or size < MEGABYTE, path
        sizes.append((size // count, size))
    held, whole = map(sum, zip(*sizes, strict=True))
    assert held < 1.2 * whole / 8


def test_what_is_kept_for_a_parameter_is_spread_as_it_is():
    mesh = make_mesh({}, jax.devices()[:1])
    shapes = {"blocks.ffn.up.kernel": (2, 512, 1024), "norm.gamma": (3,)}
    params = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    for name in ("muon", "adamw", "sgd"):
        optimizer = make_optimizer(ConfigDict(OPTIMIZER | {"name": name, "momentum": 0.9}), 10, params)
        state = jax.eval_shape(optimizer.init, params)
        found = jax.tree_util.tree_leaves_with_path(rules.shardings(state, mesh))
        assert len(found) == len(jax.tree.leaves(state)) > 2


@pytest.mark.parametrize(
    ("path", "shape", "sizes", "message"),
    [
        ("blocks.ffn.unknown", (512, 1024), (1, 8, 1, 1), r"parameter blocks.ffn.unknown \[512, 1024\]: found no row"),
        ("ffn.up.kernel", (1024,  1024), (1, 7, 1, 1), r"found fsdp 7, of which none divides a side of ffn.up.kernel"),
    ],
)
def test_what_cannot_be_spread_is_told(path: str, shape: tuple[int, ...], sizes: tuple[int, ...], message: str):
    with pytest.raises(InputError, match=message):
        rules.parameter_spec(path, shape, 4, AbstractMesh(sizes, AXES))
    assert rules.parameter_spec(path, (8, 8), 4, AbstractMesh(sizes, AXES)) == P()  # small ones are on every device


def test_without_a_mesh_activations_stay_as_they_are():
    x = jnp.ones((2, 1, 3, 4))
    assert rules.constrain(x, "tokens") is x
