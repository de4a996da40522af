"""Low-rank adapters: y = x W + s x A B, of which A and B alone are trained (LoRA, Hu et al. 2021). A is [in, r], B [r, out].

Adapters are named after the linear they belong to, as parameters are: ``blocks.3.self_attention.query.lora.a``, and
``blocks.self_attention.query.lora.a`` with a leading layer axis where layers are stacked. Queries, keys and values are
linears of their own here, however they are computed. A layer of a stack that has no adapter has one of zeros, which no
gradient moves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PRNGKeyArray

from stage_jax.errors import InputError
from stage_jax.models.layers import Adapter, Linear
from stage_jax.models.sequence import AnyArray
from stage_jax.models.stacking import stacked, unstack_params

M = TypeVar("M", bound=nnx.Module)
Params = Mapping[str, Array]
A, B = ".lora.a", ".lora.b"
# What is usually adapted in Wan (diffusers, musubi, DiffSynth): q, k, v and o of both attentions, and the feed-forward.
USUAL = r"blocks\.\d+\.((self|cross)_attention\.(query|key|value|out)|ffn\.(up|down))"


@dataclass(frozen=True)
class LoRAConfig:
    """pattern: a regular expression that has to fit the whole path of a linear, layers unstacked. alpha: the scale is
    alpha / rank; rslora: alpha / sqrt(rank), with which the size of an update does not fall with the rank
    (Kalajdzievski 2023).
    """

    rank: int
    alpha: float
    pattern: str = USUAL
    rslora: bool = False

    @property
    def scale(self) -> float:
        return self.alpha / (self.rank**0.5 if self.rslora else self.rank)


@dataclass(frozen=True)
class LoRA:
    """One LoRA as a file holds it. factors: A and B by name, layers unstacked. alphas: by the path of the linear; None
    where the scale is 1. Ranks, and with them scales, may differ between linears. where: it came from, for messages.
    """

    factors: Mapping[str, AnyArray]
    alphas: Mapping[str, float | None]
    rslora: bool = False
    where: str = "LoRA"

    def rank(self, path: str) -> int:
        return self.factors[path + A].shape[1]

    def scale(self, path: str) -> float:
        alpha = self.alphas[path]
        return 1.0 if alpha is None else LoRAConfig(self.rank(path), alpha, rslora=self.rslora).scale


def linear_shapes(params: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Path of every linear, layers unstacked -> (inputs, outputs). params: arrays or their shapes by path, stacked or not."""
    shapes = {path: tuple(params[f"{path}.kernel"].shape[-2:]) for path in _layers(params)}
    return {layer: shapes[path] for path, layers in _layers(params).items() for layer in layers}


def targets(params: Mapping[str, Any], pattern: str) -> dict[str, tuple[int, int]]:
    """The linears that a pattern fits. InputError if it fits none, or is no regular expression."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InputError(f"lora.pattern: found {pattern!r}, expected a regular expression ({error})") from None
    linears = linear_shapes(params)
    found = {path: shape for path, shape in linears.items() if compiled.fullmatch(path)}
    if not found:
        raise InputError(f"lora.pattern: {pattern!r} fits no linear, expected paths such as {', '.join([*linears][-3:])}")
    return found


def init_lora(key: PRNGKeyArray, params: Mapping[str, Any], config: LoRAConfig) -> dict[str, Array]:
    """Adapters by the names of a model with these parameters (arrays or shapes), in float32: A uniform in +-1/sqrt(in), as
    PEFT has it, B zero, so that nothing is changed at the start."""
    fitting = targets(params, config.pattern)
    factors: dict[str, Array] = {}
    for number, (path, layers) in enumerate(_layers(params).items()):
        if not any(layer in fitting for layer in layers):
            continue
        *stack, inputs, outputs = params[f"{path}.kernel"].shape
        bound = inputs**-0.5
        a = jax.random.uniform(jax.random.fold_in(key, number), (*stack, inputs, config.rank), minval=-bound, maxval=bound)
        there = np.array([layer in fitting for layer in layers])
        factors[path + A] = jnp.where(there[:, None, None], a, 0) if stack else a
        factors[path + B] = jnp.zeros((*stack, config.rank, outputs))
    return factors


def scaled(lora: Params, scale: float) -> dict[str, Array]:
    """The adapters with their scale within B, as `adapted` and `merged` take them."""
    return {name: value * scale if name.endswith(B) else value for name, value in lora.items()}


def joined(loras: Iterable[tuple[LoRA, float]], params: Mapping[str, Any]) -> dict[str, Array]:
    """Several LoRAs, each with a weight, as one of the sum of their ranks: by the names of a model with these parameters, in
    float32, the scales within B. In a stack all ranks are the largest: zeros fill the others. InputError for a linear that the
    model does not have in this shape."""
    linears = linear_shapes(params)
    loras = list(loras)
    for lora, _ in loras:
        check_shapes(lora, linears)
    result: dict[str, Array] = {}
    for path, layers in _layers(params).items():
        pieces = {layer: [(lora, weight) for lora, weight in loras if layer in lora.alphas] for layer in layers}
        if not any(pieces.values()):
            continue
        rank = max(sum(lora.rank(layer) for lora, _ in of) for layer, of in pieces.items())
        inputs, outputs = linears[layers[0]]
        a, b = np.zeros((len(layers), inputs, rank), np.float32), np.zeros((len(layers), rank, outputs), np.float32)
        for number, layer in enumerate(layers):
            start = 0
            for lora, weight in pieces[layer]:
                own = slice(start, start := start + lora.rank(layer))
                a[number, :, own] = lora.factors[layer + A]
                b[number, own] = np.asarray(lora.factors[layer + B], np.float32) * (weight * lora.scale(layer))
        alone = params[f"{path}.kernel"].ndim == 2
        result |= {path + A: jnp.asarray(a[0] if alone else a), path + B: jnp.asarray(b[0] if alone else b)}
    return result


def check_shapes(lora: LoRA, linears: Mapping[str, tuple[int, int]]) -> None:
    """InputError for a linear that is not among these, which a model has."""
    for path in lora.alphas:
        found = lora.factors[path + A].shape[0], lora.factors[path + B].shape[1]
        if path not in linears:
            raise InputError(f"{lora.where}: is for {path}, among others, which the model does not have")
        if found != linears[path]:
            shapes = [f"{inputs} inputs and {outputs} outputs" for inputs, outputs in (found, linears[path])]
            raise InputError(f"{lora.where}: is for {path} with {shapes[0]}, the model has it with {shapes[1]}")


def adapted(module: M, lora: Mapping[str, Any]) -> M:
    """A copy of an abstract module that has adapters, abstract ones, where `lora` has arrays or shapes; `with_params` fills
    it. KeyError for a path that is no linear of the module."""
    copy = nnx.merge(*nnx.split(module))
    paths = {name.removesuffix(A) for name in lora if name.endswith(A)}
    for keys, found in nnx.iter_modules(copy):
        path = ".".join(map(str, keys))
        if isinstance(found, Linear) and path in paths:
            found.lora = nnx.eval_shape(lambda path=path: Adapter(*(jnp.zeros(lora[path + part].shape) for part in (A, B))))
            paths.remove(path)
    if paths:
        raise KeyError(f"no linears of the module: {sorted(paths)}")
    return copy


def merged(params: Params, lora: Params) -> dict[str, Array]:
    """The parameters with s A B within the kernels, in the kernels' types; scales are within B (`scaled`, `joined`).

    `params` is as it was, and the way back. Where it is gone, merging `scaled(lora, -1.0)` takes the LoRA out again, but for
    what the kernels' types round off."""
    changed = {}
    for name, a in lora.items():
        if name.endswith(A):
            path = name.removesuffix(A)
            kernel = params[f"{path}.kernel"]
            product = jnp.matmul(a.astype(jnp.float32), lora[path + B].astype(jnp.float32), precision="highest")
            changed[f"{path}.kernel"] = (kernel.astype(jnp.float32) + product).astype(kernel.dtype)
    return {**params, **changed}


def as_lora(lora: Params, config: LoRAConfig, params: Mapping[str, Any]) -> LoRA:
    """What `init_lora` began and training changed, as one LoRA."""
    paths = targets(params, config.pattern)
    factors = unstack_params(lora)
    kept = {path + part: factors[path + part] for path in paths for part in (A, B)}
    return LoRA(kept, dict.fromkeys(paths, float(config.alpha)), config.rslora)


def _layers(params: Mapping[str, Any]) -> dict[str, list[str]]:
    """Path of every linear as it is in `params` -> its path in each layer of the stack, or itself."""
    found: dict[str, list[str]] = {}
    for name, leaf in params.items():
        path, kernel, rest = name.rpartition(".kernel")
        around = stacked(path)
        if kernel and not rest and leaf.ndim == (3 if around else 2):  # a patch kernel has five axes
            found[path] = [f"{around[0]}.{i}.{around[1]}" for i in range(leaf.shape[0])] if around else [path]
    return found
