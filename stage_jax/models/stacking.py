"""Layers as one stacked module that is scanned, or as a list that is unrolled: same code, same numbers, two ways to
compile.

Parameters are named by dotted paths: ``blocks.3.ffn.up.kernel`` in a list, ``blocks.ffn.up.kernel`` with a leading
layer axis in a stack.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

M = TypeVar("M", bound=nnx.Module)
Layers: TypeAlias = Any  # an nnx.List of layers, or one module that is their stack
LAYERS = "blocks"
_IN_LIST = re.compile(rf"{LAYERS}\.(\d+)\.(.+)")


def stack_layers(layers: list[nnx.Module]) -> nnx.Module:
    """One module whose parameters carry a leading layer axis."""
    graphdef, first = nnx.split(layers[0])
    states = [first, *(nnx.split(layer)[1] for layer in layers[1:])]
    return nnx.merge(graphdef, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))


def make_layers(layers: list[nnx.Module], scan: bool) -> Layers:
    """What a model keeps under ``blocks``: a stack to scan, or a list to unroll."""
    return stack_layers(layers) if scan else nnx.List(layers)


def run_layers(blocks: Layers, carry: Any, step: Callable[[Any, Any], Any], *, remat: bool = False) -> Any:
    """carry = step(block, carry) for every block: a plain scan over a stack, a Python loop over a list.

    remat: keep only the carry of each layer for the backward pass and compute the rest again.
    """
    if isinstance(blocks, nnx.List):
        for block in blocks:
            carry = _stepper(block, step, remat)(nnx.split(block)[1], carry)
        return carry
    run = _stepper(blocks, step, remat)
    return jax.lax.scan(lambda c, layer: (run(layer, c), None), carry, nnx.split(blocks)[1])[0]


def _stepper(block: nnx.Module, step: Callable[[Any, Any], Any], remat: bool) -> Callable[[Any, Any], Any]:
    graphdef = nnx.graphdef(block)

    def run(state: Any, carry: Any) -> Any:
        return step(nnx.merge(graphdef, state), carry)

    return jax.checkpoint(run) if remat else run


def layer_at(blocks: Layers, index: int) -> nnx.Module:
    """One layer of a list or of a stack."""
    if isinstance(blocks, nnx.List):
        return blocks[index]
    graphdef, state = nnx.split(blocks)
    return nnx.merge(graphdef, jax.tree.map(lambda leaf: leaf[index], state))


def flat_params(module: nnx.Module) -> dict[str, Any]:
    """Dotted path -> array (or its shape, for an abstract module)."""
    state = nnx.to_pure_dict(nnx.state(module, nnx.Param))
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {".".join(str(key.key) for key in path): leaf for path, leaf in leaves}


def with_params(module: M, params: Mapping[str, Any]) -> M:
    """A copy of a module, abstract or not, that holds the given parameters; NumPy arrays become JAX arrays.

    KeyError if the paths are not exactly the module's.
    """
    graphdef, state = nnx.split(module)
    flat = dict(nnx.to_flat_state(state))
    names = {".".join(map(str, path)): path for path in flat}
    if names.keys() != params.keys():
        raise KeyError(f"parameters that differ: {sorted(names.keys() ^ params.keys())}")
    arrays = {name: jnp.asarray(p) if isinstance(p, np.ndarray) else p for name, p in params.items()}
    new = [(path, flat[path].replace(arrays[name])) for name, path in names.items()]
    return nnx.merge(graphdef, nnx.from_flat_state(new))


def stack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Names and arrays of a list of layers -> those of a stack. Other parameters pass through."""
    stacked: dict[str, Any] = {}
    layers: dict[str, dict[int, Any]] = {}
    for name, value in params.items():
        if match := _IN_LIST.fullmatch(name):
            layers.setdefault(match[2], {})[int(match[1])] = value
        else:
            stacked[name] = value
    for name, values in layers.items():
        stacked[f"{LAYERS}.{name}"] = jnp.stack([values[i] for i in range(len(values))])
    return stacked


def unstack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `stack_params`."""
    unstacked: dict[str, Any] = {}
    for name, value in params.items():
        if name.startswith(f"{LAYERS}.") and not _IN_LIST.fullmatch(name):
            for i in range(value.shape[0]):
                unstacked[f"{LAYERS}.{i}.{name.removeprefix(LAYERS + '.')}"] = value[i]
        else:
            unstacked[name] = value
    return unstacked
