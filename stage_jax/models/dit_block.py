"""One transformer block of the DiT, over tokens laid out as [B, parts, n, D]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Bool, Float

from stage_jax.models.attention import attention, attention_weights
from stage_jax.models.layers import LayerNorm, Linear, Scale, layer_norm, linear, rms_norm
from stage_jax.models.layout import Layout
from stage_jax.models.rope import even_first, rotate_halves
from stage_jax.parallel.rules import constrain

TAPS = ("hidden", "self_attention", "self_attention_output", "cross_attention", "cross_attention_output")


class Shared(NamedTuple):
    """What all blocks read. modulation: [B, K, 6, D]; cos, sin: [B or 1, 1, parts*n, d/2]; mask: [B or 1, 1, 1,
    parts*n] or None; text: [B, groups, L, D], one caption per group of the layout; image: [B, M, D] or None.
    """

    modulation: Float[Array, "b k 6 d"]
    cos: Float[Array, "b_or_1 1 n half"]
    sin: Float[Array, "b_or_1 1 n half"]
    mask: Bool[Array, "b_or_1 1 1 n"] | None
    text: Float[Array, "b g l d"]
    image: Float[Array, "b m d"] | None


@dataclass(frozen=True)
class Taps:
    """Collects the intermediates of one block that were asked for, in the order of the sequence's tokens."""

    layout: Layout
    prefix: str
    wanted: frozenset[str]
    found: dict[str, Array]

    def wants(self, name: str) -> bool:
        return self.prefix + name in self.wanted

    def put(self, name: str, value: Float[Array, "..."], *token_axes: int) -> None:
        """token_axes: those that run over packed tokens; [parts, n] counts as one axis after flattening."""
        if self.wants(name):
            for axis in token_axes:
                moved = jnp.moveaxis(value, axis, 1)
                split = moved.reshape(moved.shape[0], self.layout.parts, self.layout.length, *moved.shape[2:])
                value = jnp.moveaxis(self.layout.unpack_all(split), 1, axis)
            self.found[self.prefix + name] = value


class Attention(nnx.Module):
    """Projections of an attention, with RMS norms of queries and keys over all heads together."""

    def __init__(self, dim: int, heads: int, eps: float, rngs: nnx.Rngs):
        xavier = nnx.initializers.xavier_uniform()
        self.query = Linear(dim, dim, rngs, init=xavier)
        self.key = Linear(dim, dim, rngs, init=xavier)
        self.value = Linear(dim, dim, rngs, init=xavier)
        self.out = Linear(dim, dim, rngs, init=xavier)
        self.norm_query = Scale(dim)
        self.norm_key = Scale(dim)
        self.heads, self.eps = heads, eps

    @property
    def scale(self) -> float:
        return (self.query.kernel.shape[-1] // self.heads) ** -0.5

    def split(self, x: Float[Array, "*b n dim"]) -> Float[Array, "*b h n d"]:
        *lead, n, dim = x.shape
        return x.reshape(*lead, n, self.heads, dim // self.heads).swapaxes(-2, -3)

    def merge(self, x: Float[Array, "*b h n d"]) -> Float[Array, "*b n dim"]:
        *lead, heads, n, d = x.shape
        return x.swapaxes(-2, -3).reshape(*lead, n, heads * d)


class SelfAttention(Attention):
    """Attention of all tokens to all valid tokens, rotated by their positions."""

    def __call__(self, x: Float[Array, "b n dim"], shared: Shared, taps: Taps | None) -> Float[Array, "b n dim"]:
        projections = [self.query, self.key, self.value]
        # Queries and keys get their channels in the order of `rotate_halves`; both alike, so attention does not change.
        kernels = [p.kernel[...] for p in projections]
        biases = [p.bias[...] for p in projections]
        kernels[:2], biases[:2] = ([even_first(w, self.heads) for w in ws[:2]] for ws in (kernels, biases))
        q, k, v = jnp.split(linear(x, jnp.concatenate(kernels, axis=1), jnp.concatenate(biases)), 3, axis=-1)
        if self.query.lora is not None:
            q = q + self.query.lora(x, lambda b: even_first(b, self.heads))
        if self.key.lora is not None:
            k = k + self.key.lora(x, lambda b: even_first(b, self.heads))
        if self.value.lora is not None:
            v = v + self.value.lora(x)
        q = rms_norm(q, even_first(self.norm_query.scale[...], self.heads), self.eps)
        k = rms_norm(k, even_first(self.norm_key.scale[...], self.heads), self.eps)
        q, k, v = (constrain(self.split(x), "heads") for x in (q, k, v))
        q, k = (rotate_halves(x, shared.cos, shared.sin) for x in (q, k))
        if taps is not None and taps.wants("self_attention"):
            taps.put("self_attention", attention_weights(q, k, scale=self.scale, key_mask=shared.mask), 2, 3)
        return self.out(self.merge(attention(q, k, v, scale=self.scale, key_mask=shared.mask)))


class CrossAttention(Attention):
    """Attention of tokens to the rows of their caption, without a mask: rows past the text take part, as in Wan.

    image: whether the same queries also attend to the image tokens, apart from the text and whatever their caption (our
    choice: Wan has one caption); the two results are added before the output projection.
    """

    def __init__(self, dim: int, heads: int, eps: float, image: bool, rngs: nnx.Rngs):
        super().__init__(dim, heads, eps, rngs)
        xavier = nnx.initializers.xavier_uniform()
        self.key_image = Linear(dim, dim, rngs, init=xavier) if image else None
        self.value_image = Linear(dim, dim, rngs, init=xavier) if image else None
        self.norm_key_image = Scale(dim) if image else None

    def __call__(
        self, x: Float[Array, "b p n dim"], shared: Shared, layout: Layout, taps: Taps | None
    ) -> Float[Array, "b p n dim"]:
        text = shared.text
        q = rms_norm(self.query(x), self.norm_query.scale[...], self.eps)
        k = self.split(rms_norm(self.key(text), self.norm_key.scale[...], self.eps))
        v = self.split(self.value(text))
        batch, parts, n, dim = q.shape
        groups = len(layout.groups)
        widths = {stop - start for _, start, stop in layout.groups}
        if len(widths) == 1:  # equal groups: one batched attention, [B, groups, parts * width, D]
            grouped = q.reshape(batch, parts, groups, n // groups, dim).swapaxes(1, 2).reshape(batch, groups, -1, dim)
            joined = self.merge(attention(self.split(grouped), k, v, scale=self.scale))
            result = joined.reshape(batch, groups, parts, n // groups, dim).swapaxes(1, 2).reshape(batch, parts, n, dim)
        else:
            results = []
            for g, (_, start, stop) in enumerate(layout.groups):
                query = self.split(q[:, :, start:stop].reshape(batch, -1, dim))
                out = self.merge(attention(query, k[:, g], v[:, g], scale=self.scale))
                results.append(out.reshape(batch, parts, stop - start, dim))
            result = jnp.concatenate(results, axis=2)
        if taps is not None and taps.wants("cross_attention"):
            taps.put("cross_attention", self._weights(q, k, layout), 2)
        if shared.image is not None:
            result = result + self._read_image(q, shared.image)
        return self.out(result)

    def _read_image(self, q: Float[Array, "b p n dim"], image: Float[Array, "b m dim"]) -> Float[Array, "b p n dim"]:
        k = self.split(rms_norm(self.key_image(image), self.norm_key_image.scale[...], self.eps))
        v = self.split(self.value_image(image))
        query = self.split(q.reshape(q.shape[0], -1, q.shape[-1]))
        return self.merge(attention(query, k, v, scale=self.scale)).reshape(q.shape)

    def _weights(
        self, q: Float[Array, "b p n dim"], k: Float[Array, "b g h l d"], layout: Layout
    ) -> Float[Array, "b h m l"]:
        """Probabilities of all tokens, in packed order, over the rows of their own caption."""
        batch, parts, _, dim = q.shape
        local = []
        for g, (_, start, stop) in enumerate(layout.groups):
            query = self.split(q[:, :, start:stop].reshape(batch, -1, dim))
            weights = attention_weights(query, k[:, g], scale=self.scale)
            local.append(weights.reshape(batch, self.heads, parts, stop - start, -1))
        joined = jnp.concatenate(local, axis=3)
        return joined.reshape(batch, self.heads, -1, joined.shape[-1])


class FeedForward(nnx.Module):
    """Linear, tanh-GELU, Linear over tokens laid out as [B, parts, n, D]."""

    def __init__(self, dim: int, ffn_dim: int, rngs: nnx.Rngs):
        xavier = nnx.initializers.xavier_uniform()
        self.up = Linear(dim, ffn_dim, rngs, init=xavier)
        self.down = Linear(ffn_dim, dim, rngs, init=xavier)

    def __call__(self, x: Float[Array, "b p n dim"]) -> Float[Array, "b p n dim"]:
        return self.down(jax.nn.gelu(constrain(self.up(x), "hidden"), approximate=True))


class Block(nnx.Module):
    """Self-attention and feed-forward, both modulated and gated by time, with a plain cross-attention between them."""

    def __init__(self, *, dim: int, ffn_dim: int, heads: int, eps: float, gate_init: float, image: bool, rngs: nnx.Rngs):
        self.self_attention = SelfAttention(dim, heads, eps, rngs)
        self.norm_cross = LayerNorm(dim, eps)
        self.cross_attention = CrossAttention(dim, heads, eps, image, rngs)
        self.ffn = FeedForward(dim, ffn_dim, rngs)
        gates = jnp.zeros((1, 6, 1)).at[:, (2, 5)].set(gate_init)
        self.modulation = nnx.Param(jax.random.normal(rngs.params(), (1, 6, dim)) / dim**0.5 + gates)
        self.eps = eps

    def __call__(
        self,
        x: Float[Array, "b p n dim"],
        shared: Shared,
        layout: Layout,
        dtype: jnp.dtype,
        taps: Taps | None = None,
    ) -> Float[Array, "b p n dim"]:
        """x: the residual stream in float32; products are computed in dtype."""
        batch, parts, n, dim = x.shape
        rows = shared.modulation + self.modulation[...][:, None]
        slots = layout.token_slots()
        shift1, scale1, gate1, shift2, scale2, gate2 = (pick(rows[:, :, i], slots) for i in range(6))
        h = modulate(layer_norm(x, self.eps), shift1, scale1).astype(dtype)
        attended = self.self_attention(h.reshape(batch, parts * n, dim), shared, taps)
        x = x + gate1 * attended.reshape(x.shape)
        crossed = self.cross_attention(self.norm_cross(x).astype(dtype), shared, layout, taps)
        x = x + crossed
        h = modulate(layer_norm(x, self.eps), shift2, scale2).astype(dtype)
        x = constrain(x + gate2 * self.ffn(h), "tokens")
        if taps is not None:
            taps.put("self_attention_output", attended, 1)
            taps.put("cross_attention_output", crossed.reshape(batch, parts * n, dim), 1)
            taps.put("hidden", x.reshape(batch, parts * n, dim), 1)
        return x


def modulate(x: Float[Array, "*b dim"], shift: Float[Array, "*c dim"], scale: Float[Array, "*c dim"]) -> Float[Array, "*b dim"]:
    return x * (1 + scale) + shift


def pick(values: Float[Array, "b k dim"], slots: np.ndarray) -> Float[Array, "b 1 n_or_1 dim"]:
    """Each local token's row by its static timestep slot; a select, so that no row per token is ever stored."""
    used = sorted(set(slots.tolist()))
    picked = values[:, None, None, used[0]]
    for slot in used[1:]:
        picked = jnp.where((slots == slot)[:, None], values[:, None, None, slot], picked)
    return picked
