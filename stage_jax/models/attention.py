"""Softmax attention: computed whole where sequences are short or its probabilities are wanted, else by a kernel. Keys that
are not there are masked, nothing else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stage_jax.parallel.attention import kernel_attention
from stage_jax.parallel.chunked_attention import MASKED

WHOLE = 512 * 512  # scores of a head; up to there the whole softmax is as fast, and its scores are small


def attention(
    query: Float[Array, "*b q d"],
    key: Float[Array, "*b k d"],
    value: Float[Array, "*b k d"],
    *,
    scale: float,
    key_mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "*b q d"]:
    """Attention of every query to the keys that are there. key_mask (True = there) broadcasts against [..., 1, k]."""
    if query.shape[-2] * key.shape[-2] > WHOLE:
        return kernel_attention(query, key, value, scale=scale, key_mask=key_mask)
    return weighted_values(attention_weights(query, key, scale=scale, key_mask=key_mask), value)


def attention_weights(
    query: Float[Array, "*b q d"],
    key: Float[Array, "*b k d"],
    *,
    scale: float,
    bias: Float[Array, "..."] | None = None,
    key_mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "*b q k"]:
    """Probabilities in float32. bias and key_mask (True = there) broadcast against [..., q, k]."""
    logits = jnp.einsum("...qd,...kd->...qk", query, key, preferred_element_type=jnp.float32) * scale
    if bias is not None:
        logits = logits + bias
    if key_mask is not None:
        logits = jnp.where(key_mask, logits, MASKED)
    return jax.nn.softmax(logits, axis=-1)


def weighted_values(weights: Float[Array, "*b q k"], value: Float[Array, "*b k d"]) -> Float[Array, "*b q d"]:
    """Sum of the values by their probabilities, in the values' type."""
    return jnp.einsum("...qk,...kd->...qd", weights.astype(value.dtype), value)
