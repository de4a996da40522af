"""Exact softmax attention over chunks of queries, in plain XLA: for the CPU, and wherever no kernel of the device fits.

Scores are held for one chunk at a time: on the CPU of one head, elsewhere of all heads. The forward pass keeps its output and,
of every row, the largest score and the sum of the exponentials; the backward pass makes the weights again from them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Bool, Float

from stage_jax.parallel.mesh import platform

# Finite on purpose: a row without any key becomes uniform instead of NaN.
MASKED = -1e30
RESIDUALS = "attention"  # name of what the forward pass keeps, for policies of rematerialisation
CHUNK = 256  # queries; the fastest of 128 to 1024 on the CPU, forward and backward together
FORWARD_CHUNKS = 4  # at most so many at once where nothing is differentiated: a seventh faster there


def chunked_attention(
    query: Float[Array, "*b q d"],
    key: Float[Array, "*b k d"],
    value: Float[Array, "*b k d"],
    *,
    scale: float,
    key_mask: Bool[Array, "..."] | None = None,
    chunk: int = CHUNK,
) -> Float[Array, "*b q d"]:
    """Attention of queries to the keys that are there, in the type of `value`; scores are float32. key_mask (True = there)
    broadcasts against [..., 1, k]."""
    *lead, queries, _ = query.shape
    keys, chunk = key.shape[-2], min(chunk, queries)
    padded = jnp.pad(query, [(0, 0)] * len(lead) + [(0, -queries % chunk), (0, 0)])
    heads = (x.reshape(-1, *x.shape[-2:]) for x in (padded, key, value))
    bias = None
    if key_mask is not None:
        bias = jnp.broadcast_to(jnp.where(key_mask, 0.0, MASKED), (*lead, 1, keys)).reshape(-1, 1, keys)
    return _attend(*heads, bias, scale, chunk)[:, :queries].reshape(query.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _attend(query, key, value, bias, scale, chunk):
    chunks = query.shape[-2] // chunk
    at_once = max(n for n in range(1, FORWARD_CHUNKS + 1) if chunks % n == 0)
    return _forward(query, key, value, bias, scale, chunk * at_once)[0]


def _forward(query, key, value, bias, scale, chunk):
    def head(query, key, value, bias):
        def step(_, q):
            scores = _scores(q, key, bias, scale)
            top = scores.max(axis=-1, keepdims=True)
            weights = jnp.exp(scores - top)
            total = weights.sum(axis=-1, keepdims=True)
            out = _product("qk,kd->qd", weights.astype(value.dtype), value) / total
            return None, (out.astype(value.dtype), top, total)

        _, (out, top, total) = jax.lax.scan(step, None, _chunks(query, chunk))
        return out.reshape(query.shape), top.reshape(-1, 1), total.reshape(-1, 1)

    # Not the log of the sum plus the largest score: in a row without keys that one would swallow the other.
    out, top, total = (checkpoint_name(x, RESIDUALS) for x in _each_head(head)(query, key, value, bias))
    return out, (query, key, value, bias, out, top, total)


def _backward(scale, chunk, kept, d_out):
    query, key, value, bias, out, top, total = kept
    delta = jnp.sum(d_out.astype(jnp.float32) * out.astype(jnp.float32), axis=-1, keepdims=True)

    def head(query, key, value, bias, d_out, top, total, delta):
        def step(carry, rows):
            d_key, d_value = carry  # [d, k]: this way round the products are three times as fast in XLA on the CPU
            q, d_o, top, total, delta = rows
            weights = jnp.exp(_scores(q, key, bias, scale) - top) / total
            d_scores = weights * (_product("qd,kd->qk", d_o, value) - delta) * scale
            d_scores = (d_scores if bias is None else jnp.where(bias == 0, d_scores, 0)).astype(q.dtype)
            d_key += _product("qd,qk->dk", q, d_scores)
            d_value += _product("qd,qk->dk", d_o, weights.astype(d_o.dtype))
            return (d_key, d_value), _product("qk,kd->qd", d_scores, key).astype(q.dtype)

        start = tuple(jnp.zeros(x.shape[::-1], jnp.float32) for x in (key, value))
        rows = tuple(_chunks(x, chunk) for x in (query, d_out, top, total, delta))
        (d_key, d_value), d_query = jax.lax.scan(step, start, rows)
        return d_query.reshape(query.shape), d_key.T.astype(key.dtype), d_value.T.astype(value.dtype)

    gradients = _each_head(head)(query, key, value, bias, d_out, top, total, delta)
    return *gradients, None if bias is None else jnp.zeros_like(bias)


_attend.defvjp(_forward, _backward)


def _each_head(function: Callable[..., Any]) -> Callable[..., Any]:
    """Over the leading axis: head by head on the CPU, whose caches hold the scores of one; all at once elsewhere."""
    if platform() == "cpu":
        return lambda *arrays: jax.lax.map(lambda one: function(*one), arrays)
    return jax.vmap(function)


def _scores(query, key, bias, scale):
    scores = _product("qd,kd->qk", query, key) * scale
    return scores if bias is None else scores + bias


def _product(axes: str, a: Float[Array, "..."], b: Float[Array, "..."]) -> Float[Array, "..."]:
    return jnp.einsum(axes, a, b, preferred_element_type=jnp.float32)


def _chunks(x: Float[Array, "q d"], chunk: int) -> Float[Array, "n c d"]:
    return x.reshape(-1, chunk, x.shape[-1])
