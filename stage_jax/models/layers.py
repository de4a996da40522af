"""Small layers that the models share. Parameters are stored in float32; a layer computes in the type of its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

Initializer: TypeAlias = Callable[..., jax.Array]


class Adapter(nnx.Module):
    """The low-rank part of a linear: x @ a [in, r] @ b [r, out], its scale within b (`lora.adapted` puts it there)."""

    def __init__(self, a: Float[Array, "*l inputs r"], b: Float[Array, "*l r outputs"]):
        self.a, self.b = nnx.Param(a), nnx.Param(b)

    def __call__(
        self, x: Float[Array, "*b inputs"], arrange: Callable[[Array], Array] = lambda b: b
    ) -> Float[Array, "*b outputs"]:
        """arrange: reorders the outputs, as the last axis of b."""
        return linear(linear(x, self.a[...], None), arrange(self.b[...]), None)


class Linear(nnx.Module):
    """x @ kernel [in, out] + bias [out], and its adapter if it has one. Leading axes are flattened first: XLA on CPU
    differentiates 2-D products much faster.
    """

    def __init__(self, inputs: int, outputs: int, rngs: nnx.Rngs, *, init: Initializer, use_bias: bool = True):
        self.kernel = nnx.Param(init(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((outputs,), jnp.float32)) if use_bias else None
        self.lora: Adapter | None = nnx.data(None)

    def __call__(self, x: Float[Array, "*b inputs"]) -> Float[Array, "*b outputs"]:
        y = linear(x, self.kernel[...], None if self.bias is None else self.bias[...])
        return y if self.lora is None else y + self.lora(x)


def linear(
    x: Float[Array, "*b inputs"], kernel: Float[Array, "inputs outputs"], bias: Float[Array, " outputs"] | None
) -> Float[Array, "*b outputs"]:
    y = x.reshape(-1, x.shape[-1]) @ kernel.astype(x.dtype)
    if bias is not None:
        y = y + bias.astype(x.dtype)
    return y.reshape(*x.shape[:-1], y.shape[-1])


class LayerNorm(nnx.Module):
    """Layer normalisation with scale and bias, in float32."""

    def __init__(self, dim: int, eps: float):
        self.scale = nnx.Param(jnp.ones((dim,), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((dim,), jnp.float32))
        self.eps = eps

    def __call__(self, x: Float[Array, "*b dim"]) -> Float[Array, "*b dim"]:
        return layer_norm(x, self.eps) * self.scale[...] + self.bias[...]


class Scale(nnx.Module):
    """The learned scale [dim] of an RMS norm."""

    def __init__(self, dim: int):
        self.scale = nnx.Param(jnp.ones((dim,), jnp.float32))


def layer_norm(x: Float[Array, "*b dim"], eps: float) -> Float[Array, "*b dim"]:
    """Layer normalisation without parameters; statistics and result in float32."""
    x = x.astype(jnp.float32)
    x = x - x.mean(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + eps)


def rms_norm(x: Float[Array, "*b dim"], scale: Float[Array, " dim"], eps: float) -> Float[Array, "*b dim"]:
    """Root-mean-square normalisation; statistics in float32, rounded to the type of x before the scale, as Wan does."""
    y = x.astype(jnp.float32)
    y = y * jax.lax.rsqrt(jnp.square(y).mean(axis=-1, keepdims=True) + eps)
    return y.astype(x.dtype) * scale.astype(x.dtype)
