"""Layers as one stacked module that is scanned, or as a list that is unrolled: same code, same numbers, two ways to
compile.

Parameters are named by dotted paths: ``blocks.3.ffn.up.kernel`` in a list, ``blocks.ffn.up.kernel`` with a leading
layer axis in a stack; ``vision.blocks.3...`` for the layers of a tower.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from stage_jax.parallel.chunked_attention import RESIDUALS

M = TypeVar("M", bound=nnx.Module)
Layers: TypeAlias = Any  # an nnx.List of layers, or one module that is their stack
LAYERS = "blocks"
# Below a number (a VAE's stage) nothing is stacked.
_IN_LIST = re.compile(rf"((?:[a-z_]+\.)*{LAYERS})\.(\d+)\.(.+)")
_IN_STACK = re.compile(rf"((?:[a-z_]+\.)*{LAYERS})\.(\D.*)")


def stack_layers(layers: list[nnx.Module]) -> nnx.Module:
    """One module whose parameters carry a leading layer axis."""
    graphdef, first = nnx.split(layers[0])
    states = [first, *(nnx.split(layer)[1] for layer in layers[1:])]
    return nnx.merge(graphdef, jax.tree.map(lambda *leaves: jnp.stack(leaves), *states))


def make_layers(layers: list[nnx.Module], scan: bool) -> Layers:
    """What a model keeps under ``blocks``: a stack to scan, or a list to unroll."""
    return stack_layers(layers) if scan else nnx.List(layers)


def run_layers(
    blocks: Layers, carry: Any, step: Callable[[Any, Any], Any], *, remat: bool = False, stop: int | None = None
) -> Any:
    """carry = step(block, carry) for every block: a plain scan over a stack, a Python loop over a list.

    remat: keep only the carry of each layer and what its attention kernels need for the backward pass, and compute the rest
    again. stop: only so many of the
    first blocks, forward (the gradient of a part of a stack would be as large as the stack for every block).
    """
    if isinstance(blocks, nnx.List):
        for block in itertools.islice(blocks, stop):
            carry = _stepper(block, step, remat)(nnx.split(block)[1], carry)
        return carry
    run = _stepper(blocks, step, remat)
    if stop is not None:  # a slice of the stack would be a copy of it
        state = nnx.split(blocks)[1]
        return jax.lax.fori_loop(0, stop, lambda i, c: run(jax.tree.map(lambda leaf: leaf[i], state), c), carry)
    return jax.lax.scan(lambda c, layer: (run(layer, c), None), carry, nnx.split(blocks)[1])[0]


def _stepper(block: nnx.Module, step: Callable[[Any, Any], Any], remat: bool) -> Callable[[Any, Any], Any]:
    graphdef = nnx.graphdef(block)

    def run(state: Any, carry: Any) -> Any:
        return step(nnx.merge(graphdef, state), carry)

    return jax.checkpoint(run, policy=jax.checkpoint_policies.save_only_these_names(RESIDUALS)) if remat else run


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


def stacked(name: str) -> tuple[str, str] | None:
    """For the name of a stack, what stands before the number of a layer in the names of a list, and after it."""
    match = _IN_STACK.fullmatch(name)
    return (match[1], match[2]) if match else None


def stack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Names and arrays of a list of layers -> those of a stack. Other parameters pass through."""
    result: dict[str, Any] = {}
    layers: dict[str, dict[int, Any]] = {}
    for name, value in params.items():
        if match := _IN_LIST.fullmatch(name):
            layers.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = value
        else:
            result[name] = value
    return result | {name: jnp.stack([values[i] for i in range(len(values))]) for name, values in layers.items()}


def unstack_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `stack_params`."""
    unstacked: dict[str, Any] = {}
    for name, value in params.items():
        if around := stacked(name):
            unstacked |= {f"{around[0]}.{i}.{around[1]}": value[i] for i in range(value.shape[0])}
        else:
            unstacked[name] = value
    return unstacked


def repeat_layers(params: Mapping[str, Any], layers: Mapping[str, int]) -> dict[str, Any]:
    """Parameters of a model with one layer in each list -> those of one with more. layers: how many, by the path of the
    list."""
    repeated: dict[str, Any] = {}
    for name, value in params.items():
        match = _IN_LIST.fullmatch(name)
        names = [f"{match[1]}.{i}.{match[3]}" for i in range(layers[match[1]])] if match else [name]
        repeated |= dict.fromkeys(names, value)
    return repeated
