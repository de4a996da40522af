"""Parameters from files onto devices, one array at a time: the host holds about one layer's array, the devices the
parameters and one layer's array."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec, Sharding
from jaxtyping import Array, Int, Shaped

from stage_jax.errors import InputError
from stage_jax.models.stacking import LAYERS, stacked
from stage_jax.parallel.rules import in_parts
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.table import Table, likely_naming, listed, match, our_paths


def load_params(
    source: Checkpoint,
    table: Table | None,
    abstract: Mapping[str, Any],
    shardings: Mapping[str, Sharding] | None = None,
    dtype: Any = None,
    *,
    partial: bool = False,
) -> dict[str, Array]:
    """Parameters by the paths of `abstract` (`stacking.flat_params` of an abstract model, its layers stacked or not).

    source: `open_checkpoint` with the table of its torch names, in whichever naming; or `folder.open_part` and None, for our
    own names. shardings: of every path, whole stacks; None puts all on the default device. dtype: of the parameters, that of
    `abstract` if None. partial: the source may hold more than `abstract`, which is not read. Reads in the order of the files.
    InputError for entries that are missing, unknown or of other shapes.
    """
    targets = _targets(abstract)
    shapes = {path: jax.ShapeDtypeStruct(_shape(abstract[name], layer), jnp.float32) for path, (name, layer) in targets.items()}
    usual = jnp.zeros(()).sharding
    params: dict[str, Array] = {}
    for path, read in _readers(source, table, shapes, partial).items():
        name, layer = targets[path]
        sharding = shardings[name] if shardings else usual
        kind = jnp.dtype(dtype or abstract[name].dtype)
        if layer is None:
            params[name] = in_parts(read(), sharding).astype(kind)
            continue
        if name not in params:
            params[name] = jnp.zeros(abstract[name].shape, kind, device=sharding)
        params[name] = _setter(sharding)(params[name], in_parts(read(), _of_layer(sharding)), layer)
    return params


def check_shapes(source: Checkpoint, abstract: Mapping[str, Any]) -> None:
    """InputError unless the source, in our own names, holds exactly the paths of `abstract`, in their shapes."""
    expected = {path: tuple(leaf.shape) for path, leaf in abstract.items()}
    wrong = []
    for path, shape in source.shapes.items():
        if path not in expected:
            wrong.append(f"{path} is not known")
        elif shape != expected[path]:
            wrong.append(f"{path} is {list(shape)}, expected {list(expected[path])}")
    wrong += [f"{path} is missing" for path in expected if path not in source.entries]
    if wrong:
        raise InputError(f"{source.where}: weights that do not fit the config in model.json: {listed(wrong, '; ')}")


def check_layers(source: Checkpoint, layers: int) -> None:
    """InputError unless the source, in our own names, holds so many layers: looked at before shapes are made of a number."""
    numbers = {path.split(".")[1] for path in source.entries if path.startswith(f"{LAYERS}.")}
    if len(numbers) != layers:
        raise InputError(f"{source.where}: found {len(numbers)} layers, expected {layers}, the config in model.json says")


def _targets(abstract: Mapping[str, Any]) -> dict[str, tuple[str, int | None]]:
    """Our unstacked path -> (path in `abstract`, layer of its stack or None)."""
    targets: dict[str, tuple[str, int | None]] = {}
    for name, leaf in abstract.items():
        if around := stacked(name):
            targets |= {f"{around[0]}.{i}.{around[1]}": (name, i) for i in range(leaf.shape[0])}
        else:
            targets[name] = (name, None)
    return targets


def _shape(leaf: Any, layer: int | None) -> tuple[int, ...]:
    return tuple(leaf.shape if layer is None else leaf.shape[1:])


def _readers(source: Checkpoint, table: Table | None, shapes: Mapping[str, Any], partial: bool) -> dict[str, Any]:
    """Our unstacked path -> what reads its array, in our layout; in the order of the source."""
    if table is None:
        if partial:
            entries = {path: entry for path, entry in source.entries.items() if path in shapes}
            source = dataclasses.replace(source, entries=entries)
        check_shapes(source, shapes)
        return {path: functools.partial(source.read, path) for path in source.entries}
    naming = likely_naming(source.entries, table)[0]
    wanted = source.shapes
    if partial:
        wanted = {name: shape for name, shape in wanted.items() if any(p in shapes for p in our_paths(name, table, naming))}
    found = match(wanted, table, shapes, str(source.where), naming)
    return {path: lambda entry=entry, name=name: entry.to_ours(source.read(name)) for path, (entry, name) in found.items()}


def _of_layer(sharding: Sharding) -> Sharding:
    """The sharding of one layer of a stack that has this sharding."""
    if isinstance(sharding, NamedSharding):
        return NamedSharding(sharding.mesh, PartitionSpec(*sharding.spec[1:]), memory_kind=sharding.memory_kind)
    return sharding


@functools.cache
def _setter(sharding: Sharding):
    return jax.jit(_set_layer, donate_argnums=0, out_shardings=sharding)


def _set_layer(stack: Shaped[Array, "l *n"], layer: Shaped[Array, "*n"], index: Int[Array, ""]) -> Shaped[Array, "l *n"]:
    return jax.lax.dynamic_update_index_in_dim(stack, layer.astype(stack.dtype), index, 0)
