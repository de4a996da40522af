"""Parameters streamed onto devices: values, shardings and types as asked for, and no more memory than an array needs."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec
from safetensors.numpy import save_file

from stage_jax.errors import InputError
from stage_jax.models.stacking import flat_params, stack_params
from stage_jax.weights.checkpoint import Checkpoint, open_checkpoint
from stage_jax.weights.convert import convert
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.folder import open_part
from stage_jax.weights.stream import _of_layer, load_params
from stage_jax.weights.table import Entry, Table, from_torch, linear
from tests.goldens import load_golden
from tests.models.dits import abstract, golden_config
from tests.weights.checkpoints import in_naming, mixed_state, write_original

NAME = "dit_i2v"  # two layers, and the image branch
CONFIG = golden_config(load_golden(NAME))
STACKED = flat_params(abstract(CONFIG))
SMALL: Table = (*linear("blocks.{i}.up", "blocks.{i}.up"), Entry("scale", "scale"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A checkpoint in shards, `wan`, and the model folder made of it, `model`."""
    root = tmp_path_factory.mktemp("stream")
    write_original(root / "wan", mixed_state(NAME), shards=3, name=NAME)
    convert(root / "wan", root / "model")
    return root


@pytest.fixture(scope="module")
def expected() -> dict[str, np.ndarray]:
    """The parameters by the path that holds everything in memory."""
    unrolled = flat_params(abstract(golden_config(load_golden(NAME), scan_layers=False)))
    state = {name: array.astype(np.float32) for name, array in mixed_state(NAME).items()}
    return {name: np.asarray(value) for name, value in stack_params(from_torch(state, DIT_TABLE, unrolled)).items()}


def assert_same(found, expected) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


def test_from_torch_and_from_our_folder(folder: Path, expected):
    """One device, float32: bit for bit what a model in memory gives, from shards, diffusers' names and our own."""
    assert_same(load_params(open_checkpoint(folder / "wan"), DIT_TABLE, STACKED), expected)
    assert_same(load_params(open_part(folder / "model", "dit"), None, STACKED), expected)
    save_file(in_naming(mixed_state(NAME), "diffusers"), folder / "diffusers.safetensors")
    assert_same(load_params(open_checkpoint(folder / "diffusers.safetensors"), DIT_TABLE, STACKED), expected)


def test_stacks_stay_in_their_kind_of_memory():
    """Also the layers on their way there."""
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("x",))
    sharding = NamedSharding(mesh, PartitionSpec(None, "x"), memory_kind="pinned_host")
    layer = _of_layer(sharding)
    assert (layer.memory_kind, layer.spec) == ("pinned_host", PartitionSpec("x"))


def test_layers_in_a_list_and_another_type(folder: Path, expected):
    unrolled = flat_params(abstract(golden_config(load_golden(NAME), scan_layers=False)))
    found = load_params(open_part(folder / "model", "dit"), None, unrolled, dtype=jnp.bfloat16)
    assert {value.dtype for value in found.values()} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_array_equal(found["blocks.1.ffn.up.kernel"], expected["blocks.ffn.up.kernel"][1].astype(jnp.bfloat16))


def test_four_devices(folder: Path, expected, tmp_path: Path):
    """Shards lie where the shardings say, also where the layers themselves are split; the whole is right."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-m", "tests.weights.sharded_worker", folder / "wan", folder / "model", tmp_path / "result.npz"]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "result.npz") as result:
        for kind in ("torch", "ours"):
            assert_same({k.partition(":")[2]: v for k, v in result.items() if k.startswith(kind)}, expected)


def small_checkpoint(folder: Path, layers: int, side: int) -> tuple[Checkpoint, dict[str, jax.ShapeDtypeStruct]]:
    state = {f"blocks.{i}.up.weight": np.full((side, side), i, jnp.bfloat16) for i in range(layers)}
    state |= {f"blocks.{i}.up.bias": np.full(side, i, jnp.bfloat16) for i in range(layers)} | {"scale": np.ones(3, np.float32)}
    shapes = {"blocks.up.kernel": (layers, side, side), "blocks.up.bias": (layers, side), "scale": (3,)}
    save_file(state, folder / f"{layers}.safetensors")
    expected = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}
    return open_checkpoint(folder / f"{layers}.safetensors"), expected


def test_memory_of_the_host_does_not_grow_with_the_layers(tmp_path: Path):
    """NumPy holds two or three arrays of a layer (read, turned, handed over), whether there are 4 layers or 16."""
    side, peaks = 512, []
    for layers in (4, 16):
        source, expected = small_checkpoint(tmp_path, layers, side)
        load_params(source, SMALL, expected)  # compiles
        tracemalloc.start()
        try:
            params = load_params(source, SMALL, expected)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert [float(layer[0, 0]) for layer in params["blocks.up.kernel"]] == list(range(layers))
    assert peaks[1] < peaks[0] + side * side and max(peaks) < 4 * 2 * side * side


def test_stacks_are_filled_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Devices hold the parameters and about one layer: what a stack was before a layer came is gone, even while others look
    at it."""
    source, expected = small_checkpoint(tmp_path, 4, 256)
    seen: list[jax.Array] = []
    read = Checkpoint.read

    def watch(self, name):
        seen.extend(array for array in jax.live_arrays() if array.shape == (4, 256, 256))
        return read(self, name)

    monkeypatch.setattr(Checkpoint, "read", watch)
    params = load_params(source, SMALL, expected)
    earlier = {id(array): array for array in seen if array is not params["blocks.up.kernel"]}
    assert len(earlier) >= 3
    assert all(array.is_deleted() for array in earlier.values())


@pytest.mark.parametrize("case", ["missing", "unknown", "another shape"])
def test_what_does_not_fit(tmp_path: Path, case: str):
    """Named in one line, from torch names and from ours."""
    state = {"blocks.0.up.weight": np.zeros((2, 3), np.float32), "blocks.0.up.bias": np.zeros(2, np.float32)}
    state["scale"] = np.zeros(3 if case != "another shape" else 4, np.float32)
    if case == "missing":
        del state["blocks.0.up.bias"]
    if case == "unknown":
        state["more"] = np.zeros(1, np.float32)
    expected = {"blocks.up.kernel": (1, 3, 2), "blocks.up.bias": (1, 2), "scale": (3,)}
    wanted = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in expected.items()}
    turned = r"scale is \[4\], expected \[3\]"
    named = {"missing": "blocks.0.up.bias is missing", "unknown": "more is not known", "another shape": turned}[case]
    save_file(state, tmp_path / "torch.safetensors")
    with pytest.raises(InputError, match=f"torch.safetensors: 1 entries do not fit: {named}"):
        load_params(open_checkpoint(tmp_path / "torch.safetensors"), SMALL, wanted)
    ours = {name.replace("weight", "kernel"): array.T for name, array in state.items()}
    save_file({name: np.ascontiguousarray(array) for name, array in ours.items()}, tmp_path / "ours.safetensors")
    with pytest.raises(InputError, match=f"do not fit the config in model.json: {named}$"):
        load_params(open_checkpoint(tmp_path / "ours.safetensors"), None, wanted)
