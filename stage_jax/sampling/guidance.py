"""Classifier-free guidance."""

from __future__ import annotations

from jaxtyping import Array, Float


def guided(
    with_caption: Float[Array, "*n"], without: Float[Array, "*n"], scale: float | Float[Array, ""]
) -> Float[Array, "*n"]:
    """without + scale * (with_caption - without); 1 follows the caption as it is, more exaggerates it."""
    return without + scale * (with_caption - without)
