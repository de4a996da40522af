"""The umT5 text encoder: an own relative position bias in every layer, no scaling of logits, no linear biases."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float, Int, Num

from stage_jax.models.attention import attention_weights, weighted_values
from stage_jax.models.layers import Linear, Scale, rms_norm
from stage_jax.models.sequence import AnyArray
from stage_jax.models.stacking import make_layers, run_layers


@dataclass(frozen=True)
class UMT5Config:
    """Sizes. attention_dim: all heads together. buckets, max_distance: of the relative positions. The rest as in
    `DiTConfig`.
    """

    vocabulary: int
    dim: int
    attention_dim: int
    ffn_dim: int
    heads: int
    layers: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6
    dtype: str = "float32"
    scan_layers: bool = True

    def __post_init__(self) -> None:
        if self.attention_dim % self.heads or self.buckets % 4:
            raise ValueError(f"umT5: {self.attention_dim} channels in {self.heads} heads, {self.buckets} buckets")


class UMT5Encoder(nnx.Module):
    """Token ids to embeddings."""

    def __init__(self, config: UMT5Config, rngs: nnx.Rngs):
        self.config = config
        table = jax.random.normal(rngs.params(), (config.vocabulary, config.dim))
        self.token_embedding = nnx.Param(table)
        self.blocks = make_layers([EncoderBlock(config, rngs) for _ in range(config.layers)], config.scan_layers)
        self.norm = Scale(config.dim)

    def __call__(
        self, ids: Int[AnyArray, "b l"], mask: Num[AnyArray, "b l"] | Bool[AnyArray, "b l"]
    ) -> Float[Array, "b l dim"]:
        """ids: token ids. mask: nonzero where there is a token; the rows of other places mean nothing (see
        `zero_padding`).
        """
        config = self.config
        keys = jnp.asarray(mask).astype(bool)[:, None, None, :]
        buckets = relative_buckets(ids.shape[1], config.buckets, config.max_distance)
        x = self.token_embedding[...][jnp.asarray(ids)].astype(config.dtype)
        x = run_layers(self.blocks, x, lambda block, h: block(h, keys, buckets))
        return rms_norm(x, self.norm.scale[...], config.eps)


def zero_padding(
    hidden: Float[AnyArray, "b l dim"], mask: Num[AnyArray, "b l"] | Bool[AnyArray, "b l"]
) -> Float[Array, "b l dim"]:
    """Zeros in the rows without a token: the form in which Wan's DiT takes captions."""
    return jnp.where(jnp.asarray(mask).astype(bool)[..., None], hidden, 0)


class EncoderBlock(nnx.Module):
    """Self-attention with a position bias, then a gated feed-forward; both on RMS-normed input, both added."""

    def __init__(self, config: UMT5Config, rngs: nnx.Rngs):
        dim, inner, heads = config.dim, config.attention_dim, config.heads

        def projection(inputs: int, outputs: int, std: float) -> Linear:
            return Linear(inputs, outputs, rngs, init=nnx.initializers.normal(std), use_bias=False)

        # The start of T5: logits are not scaled by 1/sqrt(head_dim), so the queries start that much smaller.
        self.norm_attention = Scale(dim)
        self.query = projection(dim, inner, (dim * inner // heads) ** -0.5)
        self.key = projection(dim, inner, dim**-0.5)
        self.value = projection(dim, inner, dim**-0.5)
        self.out = projection(inner, dim, inner**-0.5)
        self.position_bias = nnx.Param(jax.random.normal(rngs.params(), (config.buckets, heads)) * dim**-0.5)
        self.norm_ffn = Scale(dim)
        self.gate = projection(dim, config.ffn_dim, dim**-0.5)
        self.up = projection(dim, config.ffn_dim, dim**-0.5)
        self.down = projection(config.ffn_dim, dim, config.ffn_dim**-0.5)
        self.heads, self.eps = heads, config.eps

    def __call__(
        self, x: Float[Array, "b l dim"], keys: Bool[Array, "b 1 1 l"], buckets: Int[np.ndarray, "l l"]
    ) -> Float[Array, "b l dim"]:
        h = rms_norm(x, self.norm_attention.scale[...], self.eps)
        q, k, v = (self._split(project(h)) for project in (self.query, self.key, self.value))
        bias = self.position_bias[...][buckets].transpose(2, 0, 1)
        weights = attention_weights(q, k, scale=1.0, bias=bias, key_mask=keys)
        attended = weighted_values(weights, v).swapaxes(1, 2)
        x = x + self.out(attended.reshape(*x.shape[:2], -1))
        h = rms_norm(x, self.norm_ffn.scale[...], self.eps)
        return x + self.down(self.up(h) * jax.nn.gelu(self.gate(h), approximate=True))

    def _split(self, x: Float[Array, "b l inner"]) -> Float[Array, "b h l d"]:
        return x.reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)


def relative_buckets(length: int, buckets: int, max_distance: int) -> Int[np.ndarray, "l l"]:
    """Bucket of (query, key) by d = key - query: exact for near places, logarithmic (in float32) to max_distance, own
    half for d > 0.
    """
    half, exact = buckets // 2, buckets // 4
    d = np.arange(length)[None, :] - np.arange(length)[:, None]
    near = np.abs(d)
    octaves = np.log(np.maximum(near, 1).astype(np.float32) / np.float32(exact))
    ratio = octaves / np.float32(np.log(max_distance / exact))
    far = exact + (ratio * np.float32(half - exact)).astype(np.int32)
    return (np.where(d > 0, half, 0) + np.where(near < exact, near, np.minimum(far, half - 1))).astype(np.int32)
