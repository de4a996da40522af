"""Tables in which several of our arrays share one torch array, in one naming, and what is not read at all."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.stream import load_params
from stage_jax.weights.table import (
    LINEAR,
    Entry,
    Table,
    from_torch,
    likely_naming,
    our_paths,
    to_torch,
    torch_entries,
    torch_name,
    torch_spec,
    unread,
)
from tests.weights.checkpoints import assert_identical

NAMES = ("query", "key", "value")
TABLE: Table = (
    *(Entry("blocks.{i}.qkv.weight", f"blocks.{{i}}.{ours}.kernel", LINEAR, only="original", piece=(n, 3))
      for n, ours in enumerate(NAMES)),
    *(Entry("blocks.{i}.qkv.bias", f"blocks.{{i}}.{ours}.bias", only="original", piece=(n, 3)) for n, ours in enumerate(NAMES)),
    *(Entry(f"layer.{{i}}.{ours}_proj.weight", f"blocks.{{i}}.{ours}.kernel", LINEAR, only="diffusers") for ours in NAMES),
    *(Entry(f"layer.{{i}}.{ours}_proj.bias", f"blocks.{{i}}.{ours}.bias", only="diffusers") for ours in NAMES),
    Entry("cls", "class_token", leading_ones=2, only="original"),
    Entry("class_embedding", "class_token", only="diffusers"),
    Entry("embeddings.class", "class_token", only="diffusers", alias=True),
    Entry("log_scale", "log_scale"),
    unread("position_ids", only="diffusers"),
)  # fmt: skip
INPUTS, WIDTH, LAYERS = 5, 4, 2
SHAPES = {"class_token": (WIDTH,), "log_scale": ()} | {
    f"blocks.{i}.{name}.{leaf}": shape
    for i in range(LAYERS)
    for name in NAMES
    for leaf, shape in (("kernel", (INPUTS, WIDTH)), ("bias", (WIDTH,)))
}


def params() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {path: np.asarray(rng.standard_normal(shape), jnp.bfloat16) for path, shape in SHAPES.items()}


def test_joined_and_split():
    """[q; k; v] on the torch array's first axis, each piece turned for itself; bit for bit both ways."""
    ours = params()
    state = to_torch(ours, TABLE)
    assert state.keys() == {"cls", "log_scale"} | {
        f"blocks.{i}.qkv.{leaf}" for i in range(LAYERS) for leaf in ("weight", "bias")
    }
    expected = np.concatenate([ours[f"blocks.1.{name}.kernel"].T for name in NAMES])
    assert_identical({"": state["blocks.1.qkv.weight"]}, {"": expected})
    assert state["cls"].shape == (1, 1, WIDTH)
    assert_identical(from_torch(state, TABLE, ours), ours)


def test_the_other_naming_has_an_array_each():
    ours = params()
    state = to_torch(ours, TABLE, naming="diffusers")
    assert state.keys() >= {"layer.0.key_proj.weight", "layer.1.value_proj.bias", "class_embedding"} and len(state) == 14
    assert "position_ids" not in state
    assert_identical({"": state["layer.1.key_proj.weight"]}, {"": np.ascontiguousarray(ours["blocks.1.key.kernel"].T)})
    state["position_ids"] = np.arange(3)
    assert_identical(from_torch(state, TABLE, ours, naming="diffusers"), ours)


def test_an_alias_is_read_and_not_written():
    ours = params()
    state = to_torch(ours, TABLE, naming="diffusers")
    other = {"embeddings.class" if name == "class_embedding" else name: array for name, array in state.items()}
    assert "class_embedding" in state and likely_naming(other, TABLE) == ("diffusers", 14)
    assert_identical(from_torch(other, TABLE, ours, naming="diffusers"), ours)
    with pytest.raises(InputError, match="1 entries do not fit: embeddings.class is there beside class_embedding$"):
        from_torch(state | other, TABLE, ours, naming="diffusers")


def test_names_of_shared_arrays():
    assert our_paths("blocks.1.qkv.bias", TABLE) == [f"blocks.1.{name}.bias" for name in NAMES]
    assert our_paths("position_ids", TABLE, "diffusers") == our_paths("layer.0.key_proj.bias", TABLE) == []
    assert torch_name("blocks.0.key.bias", TABLE) == "blocks.0.qkv.bias"
    assert torch_name("blocks.0.key.bias", TABLE, "diffusers") == "layer.0.key_proj.bias"
    assert likely_naming(to_torch(params(), TABLE, naming="diffusers"), TABLE) == ("diffusers", 14)
    assert likely_naming(to_torch(params(), TABLE), TABLE) == ("original", 6)


def test_faults_are_told_once_for_all_pieces():
    ours = params()
    state = to_torch(ours, TABLE)
    del state["blocks.1.qkv.bias"]
    state |= {"blocks.0.qkv.weight": np.zeros((WIDTH, INPUTS)), "position_ids": np.arange(3)}
    with pytest.raises(InputError) as caught:
        from_torch(state, TABLE, ours, "clip.pth")
    assert str(caught.value) == (
        "clip.pth: 3 entries do not fit: blocks.0.qkv.weight is [4, 5], expected [12, 5]; position_ids is not known; "
        "blocks.1.qkv.bias is missing"
    )


def test_an_array_that_lacks_a_piece_is_not_written():
    ours = params()
    del ours["blocks.0.key.bias"]
    with pytest.raises(InputError, match=r"blocks.0.qkv.bias needs more than blocks.0.query.bias, blocks.0.value.bias$"):
        to_torch(ours, TABLE)


def test_pieces_of_several_types_are_not_joined():
    ours = params()
    ours["blocks.0.key.bias"] = ours["blocks.0.key.bias"].astype(np.float32)
    with pytest.raises(TypeError):
        to_torch(ours, TABLE)
    pieces = [(entry, ours[path]) for entry, path in torch_entries(ours, TABLE)["blocks.0.qkv.bias"]]
    with pytest.raises(InputError, match="clip: qkv: found pieces of the types bfloat16, float32, expected one type"):
        torch_spec("qkv", pieces, "clip")
    pieces = [(entry, ours[path]) for entry, path in torch_entries(ours, TABLE)["blocks.0.qkv.weight"]]
    spec = torch_spec("qkv", pieces)
    assert (spec.shape, spec.dtype) == ((3 * WIDTH, INPUTS), jnp.bfloat16)


@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_streamed_onto_a_device(tmp_path: Path, naming):
    """Stacked layers are filled piece by piece from the file."""
    ours = {path: array.astype(np.float32) for path, array in params().items()}
    save_file(to_torch(ours, TABLE, naming=naming), tmp_path / "clip.safetensors")
    stacked = {path.replace(".0.", "."): (LAYERS, *shape) for path, shape in SHAPES.items() if ".0." in path}
    shapes = stacked | {"class_token": (WIDTH,), "log_scale": ()}
    abstract = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in shapes.items()}
    found = load_params(open_checkpoint(tmp_path / "clip.safetensors"), TABLE, abstract)
    assert found.keys() == abstract.keys()
    for path, array in ours.items():
        layer = [int(part) for part in path.split(".") if part.isdecimal()]
        got = found[path if not layer else path.replace(f".{layer[0]}.", ".")]
        np.testing.assert_array_equal(got[layer[0]] if layer else got, array)
