"""The one table that says how arrays are spread over the mesh: parameters, optimiser, activations and batches.

An array's axes have logical names, by its dotted path (parameters and everything that is kept for each of them) or by its
role (activations); the names map to axes of the mesh. Nothing else in the code base names an axis of the mesh for an array.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh, NamedSharding, Sharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Shaped

from stage_jax.errors import InputError
from stage_jax.parallel.mesh import BATCH_AXES, current_mesh, host

T = TypeVar("T")

MESH_AXES: dict[str | None, tuple[str, ...]] = {
    "batch": BATCH_AXES,
    "part": ("context",),  # of tokens, see `models.layout`
    "head": ("tensor",),
    "hidden": ("tensor",),
    "embed": ("fsdp", "context"),  # a parameter is gathered where it is used, so any axis along which it is not needed will do
    "wide": ("tensor",),
    "vector": ("fsdp", "context"),
    "wide vector": ("tensor", "fsdp", "context"),
    None: (),
}

# The last axes of a parameter, by what its path ends with; the first row that fits counts. Axes before them (the layers of a
# stack) are not spread. Products take turns: one spreads its outputs over `tensor`, the next one its inputs.
_INTO = r"query|key|value|key_image|value_image|qkv|up|gate|(text|time)_embedding\.0|time_projection"
_OUT_OF = r"out|down|(text|time)_embedding\.1"
PARAMETERS: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (rf"({_INTO})\.kernel", ("embed", "wide")),
    (rf"({_OUT_OF})\.kernel", ("wide", "embed")),
    (r"head\.projection\.kernel", ("embed", None)),
    (r"token_embedding", ("wide", "embed")),
    (r"position_bias", (None, "wide")),
    (r"positions", ("embed",)),
    (r"lora\.a", ("embed", None)),
    (r"lora\.b", (None, "embed")),
    (r"kernel", ("embed",)),  # patches and convolutions: by their output channels
    (rf"({_INTO})\.bias", ("wide vector",)),
    (r"bias|scale|gamma|modulation", ("vector",)),
)
SMALL = 1 << 20  # bytes; what is smaller, as a whole stack, every device holds: gathering it would cost more than it saves

ACTIVATIONS: dict[str, tuple[str | None, ...]] = {
    "tokens": ("batch", "part", None, None),  # [B, parts, n, D]
    "heads": ("batch", "head", None, None),  # [B, H, N, d]
    "hidden": ("batch", "part", None, "hidden"),  # [B, parts, n, F]
}


def constrain(x: Shaped[Array, "..."], role: str) -> Shaped[Array, "..."]:
    """The same array, laid out as `ACTIVATIONS` says; as it is where there is no mesh."""
    mesh = current_mesh()
    return x if mesh.empty or mesh.size == 1 else jax.lax.with_sharding_constraint(x, _spec(ACTIVATIONS[role], mesh))


def parameter_spec(path: str, shape: Sequence[int], itemsize: int, mesh: Mesh | AbstractMesh) -> P:
    """How a parameter is spread, or what is kept for each of its elements. An axis of the mesh that does not divide its side
    is left out. InputError for one of `SMALL` bytes or more that no row of the table names, or that the table spreads over
    the mesh's axes but none of them divides."""
    if math.prod(shape) * itemsize < SMALL:
        return P()
    names = next((axes for end, axes in PARAMETERS if re.search(rf"(^|\.)({end})$", path)), None)
    if names is None or len(names) > len(shape):
        raise InputError(f"parameter {path} {list(shape)}: found no row for it in parallel/rules.py, expected one")
    names = (None,) * (len(shape) - len(names)) + names
    spread = [
        tuple(axis for axis, factor in _dividing(side, MESH_AXES[name], mesh) if factor > 1)
        for side, name in zip(shape, names, strict=True)
    ]
    wanted = {axis: mesh.shape[axis] for name in names for axis in MESH_AXES[name] if mesh.shape[axis] > 1}
    if wanted and not any(spread):
        sizes = " x ".join(f"{axis} {size}" for axis, size in wanted.items())
        raise InputError(f"config.mesh: found {sizes}, of which none divides a side of {path} {list(shape)}")
    return _trimmed(spread)


def shardings(tree: Any, mesh: Mesh) -> Any:
    """The sharding of every array of a tree (or of its shape): of parameters by dotted path, of an optimiser's state, of a
    whole train state. Whatever stands under a parameter's path is spread as the parameter; single numbers are everywhere."""

    def of(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
        names = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        spec = parameter_spec(names[-1], leaf.shape, leaf.dtype.itemsize, mesh) if leaf.ndim else P()
        return NamedSharding(mesh, spec)

    return jax.tree_util.tree_map_with_path(of, tree)


def spread(make: Callable[..., T], mesh: Mesh, *arguments: Any, traced: bool = True) -> T:
    """What `make(*arguments)` gives, each array of it made where it belongs; the arguments are used up. traced: False where
    it reads files; it is then made in the memory of every host, and each device gets its part of it. One device gets it as it
    is made: compiling would cost more than it saves."""
    if mesh.size == 1:
        made = make(*arguments)
        return jax.device_put(made, shardings(made, mesh))
    if not traced:
        with jax.default_device(host()):
            made = make(*arguments)
        return jax.tree.map(in_parts, jax.tree.map(np.asarray, made), shardings(made, mesh))
    where = shardings(jax.eval_shape(make, *arguments), mesh)
    return jax.jit(make, out_shardings=where, donate_argnums=range(len(arguments)))(*arguments)


def in_parts(array: Shaped[np.ndarray, "..."], sharding: Sharding) -> Shaped[Array, "..."]:
    """An array that every process holds whole, laid onto the sharding: each device is given its part only. `jax.device_put`
    would send it from process to process."""
    return jax.make_array_from_callback(array.shape, sharding, lambda part: array[part])


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of every array of a batch: by rows."""
    return NamedSharding(mesh, _spec(("batch",), mesh))


def replicated(mesh: Mesh) -> NamedSharding:
    return NamedSharding(mesh, P())


def _dividing(side: int, axes: Sequence[str], mesh: Mesh | AbstractMesh) -> list[tuple[str, int]]:
    """The axes that divide a side one after the other, with their sizes."""
    found: list[tuple[str, int]] = []
    for axis in axes:
        if side % mesh.shape[axis] == 0:
            found.append((axis, mesh.shape[axis]))
            side //= mesh.shape[axis]
    return found


def _spec(names: Sequence[str | None], mesh: Mesh | AbstractMesh) -> P:
    return _trimmed([tuple(axis for axis in MESH_AXES[name] if mesh.shape[axis] > 1) for name in names])


def _trimmed(spread: Sequence[tuple[str, ...]]) -> P:
    """A spec without the axes at its end that are not spread."""
    entries = [axes[0] if len(axes) == 1 else axes or None for axes in spread]
    while entries and entries[-1] is None:
        entries.pop()
    return P(*entries)
