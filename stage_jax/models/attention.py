"""Softmax attention, computed whole: exact, and fast where sequences are short. Keys that are not there are masked,
nothing else.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Finite on purpose: a row without any key becomes uniform instead of NaN.
MASKED = -1e30


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
