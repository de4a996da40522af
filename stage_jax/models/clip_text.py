"""The text tower of CLIP XLM-R ViT-H/14: XLM-RoBERTa large, the mean of its tokens, and a small head."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from stage_jax.models.clip_block import CLIPBlock
from stage_jax.models.layers import LayerNorm, Linear
from stage_jax.models.sequence import AnyArray
from stage_jax.models.stacking import make_layers, run_layers


@dataclass(frozen=True)
class CLIPTextConfig:
    """Sizes. pad: the token that stands where there is none; the positions of a text begin behind its number, so a text has
    at most positions - pad - 1 tokens."""

    vocabulary: int
    dim: int
    ffn_dim: int
    heads: int
    layers: int
    positions: int = 514
    pad: int = 1
    eps: float = 1e-5
    dtype: str = "float32"
    scan_layers: bool = True

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.positions < self.pad + 2:
            raise ValueError(f"CLIP's text: {self.dim} channels in {self.heads} heads, {self.positions} positions")


class CLIPText(nnx.Module):
    """Token ids to embeddings of whole texts. projection: their width."""

    def __init__(self, config: CLIPTextConfig, projection: int, rngs: nnx.Rngs):
        def table(rows: int) -> nnx.Param:
            return nnx.Param(0.02 * jax.random.normal(rngs.params(), (rows, config.dim)))

        def blocks() -> list[CLIPBlock]:
            sizes = (config.dim, config.ffn_dim, config.heads, config.eps)
            return [CLIPBlock(*sizes, rngs, post_norm=True) for _ in range(config.layers)]

        self.config = config
        self.token_embedding, self.position_embedding = table(config.vocabulary), table(config.positions)
        self.type_embedding = table(1)  # XLM-R knows one type of token
        self.norm = LayerNorm(config.dim, config.eps)
        self.blocks = make_layers(blocks(), config.scan_layers)
        middle = (config.dim + projection) // 2
        self.head = nnx.List(
            Linear(inputs, outputs, rngs, init=nnx.initializers.normal(inputs**-0.5), use_bias=False)
            for inputs, outputs in ((config.dim, middle), (middle, projection))
        )

    def __call__(self, ids: Int[AnyArray, "b l"]) -> Float[Array, "b projection"]:
        """Embeddings, not normalised; texts end with `pad`, none of them is empty. ValueError for more tokens than there are
        positions."""
        config = self.config
        ids = jnp.asarray(ids)
        if ids.shape[1] > config.positions - config.pad - 1:
            raise ValueError(f"a text of {ids.shape[1]} tokens, the model takes {config.positions - config.pad - 1}")
        there = ids != config.pad
        places = config.pad + jnp.cumsum(there, axis=1) * there
        x = self.token_embedding[...][ids] + self.type_embedding[...] + self.position_embedding[...][places]
        x = self.norm(x).astype(config.dtype)
        x = run_layers(self.blocks, x, lambda block, h: block(h, there[:, None, None, :]))
        mean = x.mean(axis=1, where=there[..., None], dtype=jnp.float32).astype(x.dtype)
        first, second = self.head
        return second(jax.nn.gelu(first(mean), approximate=False))
