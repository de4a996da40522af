"""The Wan video DiT over token sequences. With one target segment and one caption it is Wan, number for number."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from stage_jax.models import dit_block
from stage_jax.models.dit_block import Block, Shared, Taps, modulate
from stage_jax.models.image_embedding import ImageEmbedding
from stage_jax.models.layers import Linear, layer_norm
from stage_jax.models.layout import Layout, packed_mask
from stage_jax.models.patchify import PatchEmbedding, unpatchify, zero_invalid
from stage_jax.models.rope import rotations
from stage_jax.models.sequence import BASE_KERNEL, Kernel, TokenSequence, pytree
from stage_jax.models.stacking import layer_at, make_layers, run_layers
from stage_jax.parallel.rules import constrain

TOP_TAPS = ("tokens", "text")


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of a DiT.

    in_channels: of a target's latent with its conditioning (16; 36 for image to video). out_channels: of a plain
    latent. text_dim, text_len: caption embeddings; shorter captions are filled with zero rows, which take part as in
    Wan. image_dim: width of the CLIP features that the cross-attention also reads (1280 in Wan2.1's image models); None
    where there is no such branch. image_positions: rows of the learned positions that are added to them (514 for first
    and last frame, which they tell apart), None for none. kernels: patch kernels, the base one first; the others are
    multiples of it. dtype: of activations ("float32" or "bfloat16"); parameters are float32, and norms, modulation,
    residuals and softmax are computed in float32 anyway. scan_layers: scan over stacked layers (compile time does not
    grow with depth), else unrolled (faster on CPU). remat: keep only each layer's input for the backward pass.
    gate_init: added to both gates of every block at the start; 0 is Wan's own start, 1 lets a small model that is
    trained from scratch use its blocks from the first step (our choice).
    """

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    in_channels: int = 16
    out_channels: int = 16
    text_dim: int = 4096
    text_len: int = 512
    image_dim: int | None = None
    image_positions: int | None = None
    freq_dim: int = 256
    eps: float = 1e-6
    kernels: tuple[Kernel, ...] = (BASE_KERNEL,)
    theta: float = 10000.0
    dtype: str = "float32"
    scan_layers: bool = True
    remat: bool = False
    gate_init: float = 0.0

    def __post_init__(self) -> None:
        if self.dim % self.heads or (self.dim // self.heads) % 2:
            raise ValueError(f"DiT: {self.dim} channels do not split into {self.heads} heads of even width")
        if any(side % small for kernel in self.kernels for side, small in zip(kernel, self.kernels[0], strict=True)):
            raise ValueError(f"DiT: patch kernels {self.kernels} are not all multiples of the first")
        if self.image_positions is not None and self.image_dim is None:
            raise ValueError(f"DiT: {self.image_positions} image positions, but no width of image tokens")


@pytree(data=("outputs", "taps"))
@dataclass(frozen=True)
class DiTOutput:
    """outputs: per segment the velocity [B, C, T, H, W] in float32, None for context. taps: what was asked for, by
    name.
    """

    outputs: tuple[Float[Array, "_ _ _ _ _"] | None, ...]
    taps: dict[str, Array] = field(default_factory=dict)


class DiT(nnx.Module):
    """The transformer. Call it inside the caller's own `jax.jit` on `nnx.split` / `nnx.merge` state."""

    def __init__(self, config: DiTConfig, rngs: nnx.Rngs):
        self.config = config
        dim, base = config.dim, config.kernels[0]
        normal = nnx.initializers.normal(0.02)
        self.patch_embedding = PatchEmbedding(config.kernels, config.in_channels, config.out_channels, dim, rngs)
        self.text_embedding = nnx.List([Linear(config.text_dim, dim, rngs, init=normal), Linear(dim, dim, rngs, init=normal)])
        self.time_embedding = nnx.List([Linear(config.freq_dim, dim, rngs, init=normal), Linear(dim, dim, rngs, init=normal)])
        self.time_projection = Linear(dim, 6 * dim, rngs, init=nnx.initializers.xavier_uniform())
        image = config.image_dim is not None
        self.image_embedding = ImageEmbedding(config.image_dim, dim, config.image_positions, rngs) if image else None
        sizes = dict(dim=dim, ffn_dim=config.ffn_dim, heads=config.heads, eps=config.eps, gate_init=config.gate_init)
        self.blocks = make_layers([Block(**sizes, image=image, rngs=rngs) for _ in range(config.layers)], config.scan_layers)
        self.head = Head(dim, config.out_channels * prod(base), config.eps, rngs)

    def __call__(self, sequence: TokenSequence, taps: tuple[str, ...] = ()) -> DiTOutput:
        """Velocities of the targets.

        taps: names of intermediates to return, in the order of the sequence's tokens and without padding: "tokens" [B,
        N, D], "text" [B, n, L, D], and for a block i "blocks.i.hidden" (its output), "blocks.i.self_attention_output",
        "blocks.i.cross_attention_output" [B, N, D], "blocks.i.self_attention" [B, heads, N, N],
        "blocks.i.cross_attention" [B, heads, N, L] (probabilities; those over the caption). ValueError for a name that
        does not exist, and for image tokens that the model does not read or that it misses.
        """
        self._check(taps)
        found: dict[str, Array] = {}
        layout = Layout.of(sequence)
        time, modulation = self._time(sequence)
        shared = self._shared(sequence, layout, modulation)
        tokens = [self.patch_embedding(segment, self._dtype) for segment in sequence.segments]
        x = constrain(layout.pack(tokens).astype(jnp.float32), "tokens")
        found |= {name: v for name, v in (("tokens", layout.unpack_all(x)), ("text", shared.text)) if name in taps}
        if any(name.startswith("blocks.") for name in taps):
            for i in range(self.config.layers):
                tap = Taps(layout, f"blocks.{i}.", frozenset(taps), found)
                x = layer_at(self.blocks, i)(x, shared, layout, self._dtype, tap)
        else:
            x = run_layers(self.blocks, x, lambda block, h: block(h, shared, layout, self._dtype), remat=self.config.remat)
        outputs = tuple(
            unpatchify(self.head(layout.unpack(x, s), time[:, segment.t_slot], self._dtype), segment.grid, segment.kernel)
            if segment.target
            else None
            for s, segment in enumerate(sequence.segments)
        )
        return DiTOutput(outputs, found)

    @property
    def _dtype(self) -> jnp.dtype:
        return jnp.dtype(self.config.dtype)

    def _check(self, taps: tuple[str, ...]) -> None:
        known = {*TOP_TAPS, *(f"blocks.{i}.{name}" for i in range(self.config.layers) for name in dit_block.TAPS)}
        if unknown := [name for name in taps if name not in known]:
            raise ValueError(f"DiT: no intermediate is called {', '.join(unknown)}")

    def _time(self, sequence: TokenSequence) -> tuple[Float[Array, "b k d"], Float[Array, "b k 6 d"]]:
        """Time embeddings and their projection to the modulation of a block, in float32."""
        first, second = self.time_embedding
        embedded = second(jax.nn.silu(first(time_sinusoid(jnp.asarray(sequence.timesteps), self.config.freq_dim))))
        projected = self.time_projection(jax.nn.silu(embedded))
        return embedded, projected.reshape(*projected.shape[:2], 6, self.config.dim)

    def _shared(self, sequence: TokenSequence, layout: Layout, modulation: Float[Array, "b k 6 d"]) -> Shared:
        """What every layer reads: modulation, rotations, validity, the captions that some token reads."""
        segments = sequence.segments
        positions = layout.pack([zero_invalid(jnp.asarray(s.positions, jnp.float32), s.valid) for s in segments])
        cos, sin = rotations(
            positions.reshape(positions.shape[0], 1, -1, 3), self.config.dim // self.config.heads, self.config.theta
        )
        mask = packed_mask(sequence, layout)
        text = self._text(sequence, layout)
        mask = None if mask is None else mask.reshape(mask.shape[0], 1, 1, -1)
        return Shared(modulation, cos, sin, mask, text, self._image(sequence))

    def _text(self, sequence: TokenSequence, layout: Layout) -> Float[Array, "b n l d"]:
        """The captions that segments name, embedded, in the order of the layout's groups."""
        captions = jnp.stack([_present_caption(sequence, caption) for caption, _, _ in layout.groups], axis=1)
        missing = self.config.text_len - captions.shape[2]
        if missing < 0:
            raise ValueError(f"captions of {captions.shape[2]} rows, the model takes {self.config.text_len}")
        captions = jnp.pad(captions, ((0, 0), (0, 0), (0, missing), (0, 0))).astype(self._dtype)
        first, second = self.text_embedding
        return second(jax.nn.gelu(first(captions), approximate=True))

    def _image(self, sequence: TokenSequence) -> Float[Array, "b m d"] | None:
        """The image tokens, embedded; None for a model that reads none."""
        tokens, width = sequence.image_tokens, self.config.image_dim
        if tokens is None:
            if width is not None:
                raise ValueError(f"token sequence without image tokens, but the model reads some of width {width}")
            return None
        if width is None:
            raise ValueError("token sequence with image tokens, but the model has no branch for them")
        expected = (sequence.timesteps.shape[0], self.config.image_positions or tokens.shape[1], width)
        if tokens.shape != expected:
            raise ValueError(f"image tokens of the shape {tokens.shape}, the model takes {expected}")
        return self.image_embedding(jnp.asarray(tokens), self._dtype)


class Head(nnx.Module):
    """The last norm, modulated by the time embedding, and the projection to patch vectors; the projection starts at
    zero.
    """

    def __init__(self, dim: int, outputs: int, eps: float, rngs: nnx.Rngs):
        self.modulation = nnx.Param(jax.random.normal(rngs.params(), (1, 2, dim)) / dim**0.5)
        self.projection = Linear(dim, outputs, rngs, init=nnx.initializers.zeros)
        self.eps = eps

    def __call__(self, x: Float[Array, "b n d"], time: Float[Array, "b d"], dtype: jnp.dtype) -> Float[Array, "b n p"]:
        shift, scale = jnp.split(self.modulation[...] + time[:, None], 2, axis=1)
        return self.projection(modulate(layer_norm(x, self.eps), shift, scale).astype(dtype)).astype(jnp.float32)


def time_sinusoid(t: Float[Array, "*b"], channels: int) -> Float[Array, "*b channels"]:
    """Cosines, then sines of t * 10000^(-i / (channels/2)), in float32; t in [0, 1000]."""
    half = channels // 2
    frequencies = jnp.asarray(10000.0 ** (-np.arange(half, dtype=np.float64) / half), jnp.float32)
    angle = jnp.asarray(t, jnp.float32)[..., None] * frequencies
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)


def _present_caption(sequence: TokenSequence, caption: int) -> Float[Array, "b l d"]:
    """One caption, [B, L, D_text]; zeros for the examples in which every token that reads it is absent."""
    text = jnp.asarray(sequence.captions)[:, caption]
    valid = [segment.valid for segment in sequence.segments if segment.caption == caption]
    if any(v is None for v in valid):
        return text
    present = jnp.concatenate([jnp.asarray(v) for v in valid], axis=1).any(axis=1)
    return jnp.where(present[:, None, None], text, 0)
