"""The transformer block of both towers of CLIP."""

from __future__ import annotations

import jax
from flax import nnx
from jaxtyping import Array, Bool, Float

from stage_jax.models.attention import attention
from stage_jax.models.layers import LayerNorm, Linear


class CLIPBlock(nnx.Module):
    """Self-attention, then Linear, exact GELU, Linear; both added. Norms stand before them (ViT), or after the sums
    (post_norm: XLM-R). Norms in float32, the rest in the type of x.
    """

    def __init__(self, dim: int, ffn_dim: int, heads: int, eps: float, rngs: nnx.Rngs, *, post_norm: bool):
        def projection(inputs: int, outputs: int) -> Linear:
            return Linear(inputs, outputs, rngs, init=nnx.initializers.normal(inputs**-0.5))

        self.norm_attention = LayerNorm(dim, eps)
        self.query, self.key, self.value, self.out = (projection(dim, dim) for _ in range(4))
        self.norm_ffn = LayerNorm(dim, eps)
        self.up, self.down = projection(dim, ffn_dim), projection(ffn_dim, dim)
        self.heads, self.post_norm = heads, post_norm

    def __call__(self, x: Float[Array, "b l dim"], keys: Bool[Array, "b 1 1 l"] | None = None) -> Float[Array, "b l dim"]:
        """keys: True where a token is there to be read; None if all are."""
        if self.post_norm:
            x = self.norm_attention(x + self._attend(x, keys)).astype(x.dtype)
            return self.norm_ffn(x + self._feed(x)).astype(x.dtype)
        x = x + self._attend(self.norm_attention(x).astype(x.dtype), keys)
        return x + self._feed(self.norm_ffn(x).astype(x.dtype))

    def _attend(self, x: Float[Array, "b l dim"], keys: Bool[Array, "b 1 1 l"] | None) -> Float[Array, "b l dim"]:
        q, k, v = (self._split(project(x)) for project in (self.query, self.key, self.value))
        attended = attention(q, k, v, scale=q.shape[-1] ** -0.5, key_mask=keys)
        return self.out(attended.swapaxes(1, 2).reshape(x.shape))

    def _feed(self, x: Float[Array, "b l dim"]) -> Float[Array, "b l dim"]:
        return self.down(jax.nn.gelu(self.up(x), approximate=False))

    def _split(self, x: Float[Array, "b l dim"]) -> Float[Array, "b h l d"]:
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)
