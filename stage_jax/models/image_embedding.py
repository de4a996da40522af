"""What the DiT makes of CLIP features before its cross-attention reads them (Wan2.1's image models)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from stage_jax.models.layers import LayerNorm, Linear

EPS = 1e-5  # of both norms, unlike the DiT's 1e-6: Wan leaves it at PyTorch's default


class ImageEmbedding(nnx.Module):
    """Learned positions, if any, then LayerNorm, Linear, exact GELU, Linear, LayerNorm.

    inputs: width of the features. positions: rows of features, where they have learned positions; these start at zero.
    """

    def __init__(self, inputs: int, dim: int, positions: int | None, rngs: nnx.Rngs):
        xavier = nnx.initializers.xavier_uniform()
        self.positions = None if positions is None else nnx.Param(jnp.zeros((1, positions, inputs), jnp.float32))
        self.norm_in = LayerNorm(inputs, EPS)
        self.up = Linear(inputs, inputs, rngs, init=xavier)
        self.down = Linear(inputs, dim, rngs, init=xavier)
        self.norm_out = LayerNorm(dim, EPS)

    def __call__(self, features: Float[Array, "b m inputs"], dtype: jnp.dtype) -> Float[Array, "b m dim"]:
        """Norms and positions in float32; products, and the result, in dtype."""
        x = features.astype(jnp.float32)
        if self.positions is not None:
            x = x + self.positions[...]
        x = self.down(jax.nn.gelu(self.up(self.norm_in(x).astype(dtype)), approximate=False))
        return self.norm_out(x).astype(dtype)
