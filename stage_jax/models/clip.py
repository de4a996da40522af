"""CLIP XLM-R ViT-H/14, whose vision tower gives Wan2.1's image models their picture: OpenCLIP's model, in the form of the
public Wan2.1 code.
"""

from __future__ import annotations

from dataclasses import dataclass

import einops
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from stage_jax.models.clip_block import CLIPBlock
from stage_jax.models.clip_text import CLIPText, CLIPTextConfig
from stage_jax.models.layers import LayerNorm, Linear
from stage_jax.models.sequence import AnyArray
from stage_jax.models.stacking import make_layers, run_layers


@dataclass(frozen=True)
class CLIPConfig:
    """Sizes of the vision tower, and the text tower where there is one. picture, patch: sides in pixels. projection: the width
    of the embeddings that both towers share; None for a vision tower without them, as diffusers keeps it."""

    dim: int
    ffn_dim: int
    heads: int
    layers: int
    picture: int = 224
    patch: int = 14
    projection: int | None = None
    text: CLIPTextConfig | None = None
    eps: float = 1e-5
    dtype: str = "float32"
    scan_layers: bool = True

    def __post_init__(self) -> None:
        if self.dim % self.heads or self.picture % self.patch:
            raise ValueError(
                f"CLIP: {self.dim} channels in {self.heads} heads, pictures of {self.picture} in patches of {self.patch}"
            )
        if self.text is not None and self.projection is None:
            raise ValueError("CLIP: a text tower, but no projection")


class CLIP(nnx.Module):
    """Both towers, or the vision tower alone."""

    def __init__(self, config: CLIPConfig, rngs: nnx.Rngs):
        self.config = config
        self.vision = CLIPVision(config, rngs)
        self.text = None if config.text is None else CLIPText(config.text, config.projection, rngs)
        self.log_scale = None if config.text is None else nnx.Param(jnp.log(jnp.float32(1 / 0.07)))  # as CLIP starts

    def similarity(self, pictures: Float[AnyArray, "b s s 3"], ids: Int[AnyArray, "n l"]) -> Float[Array, "b n"]:
        """Scaled cosines of every picture (of `clip_pictures`) and every text, in float32: logits of which belongs to which.
        ValueError without a text tower."""
        if self.text is None:
            raise ValueError("this CLIP has no text tower")
        pair = (x.astype(jnp.float32) for x in (self.vision.embed(pictures), self.text(ids)))
        seen, read = (x / jnp.linalg.norm(x, axis=-1, keepdims=True) for x in pair)
        return jnp.exp(self.log_scale[...]) * seen @ read.T


class CLIPVision(nnx.Module):
    """ViT: patches, class token first, learned positions, a norm before the blocks."""

    def __init__(self, config: CLIPConfig, rngs: nnx.Rngs):
        dim, patch = config.dim, config.patch

        def normal(*shape: int, std: float = dim**-0.5) -> nnx.Param:
            return nnx.Param(std * jax.random.normal(rngs.params(), shape))

        def blocks() -> list[CLIPBlock]:
            sizes = (dim, config.ffn_dim, config.heads, config.eps)
            return [CLIPBlock(*sizes, rngs, post_norm=False) for _ in range(config.layers)]

        self.config = config
        self.patch_embedding = normal(patch, patch, 3, dim, std=(3 * patch**2) ** -0.5)
        self.class_token = normal(dim)
        self.positions = normal(1 + (config.picture // patch) ** 2, dim)
        self.norm_in = LayerNorm(dim, config.eps)
        self.blocks = make_layers(blocks(), config.scan_layers)
        self.norm_out = LayerNorm(dim, config.eps)
        init = nnx.initializers.normal(dim**-0.5)
        self.head = None if config.projection is None else Linear(dim, config.projection, rngs, init=init, use_bias=False)

    def __call__(self, pictures: Float[AnyArray, "b s s 3"]) -> Float[Array, "b m dim"]:
        """All tokens of the last block but one, without a norm: the image tokens of Wan2.1's DiT (257 of width 1280), which
        transformers calls ``hidden_states[-2]``. pictures: of `clip_pictures`."""
        return self._tokens(pictures, self.config.layers - 1)

    def embed(self, pictures: Float[AnyArray, "b s s 3"]) -> Float[Array, "b projection"]:
        """Embeddings of whole pictures, not normalised: the class token after all blocks. ValueError without a projection."""
        if self.head is None:
            raise ValueError("this CLIP has no projection")
        x = self._tokens(pictures, None)[:, 0]
        return self.head(self.norm_out(x).astype(x.dtype))

    def _tokens(self, pictures: Float[AnyArray, "b s s 3"], blocks: int | None) -> Float[Array, "b m dim"]:
        config, patch = self.config, self.config.patch
        if pictures.shape[1] != config.picture:
            raise ValueError(f"pictures of the side {pictures.shape[1]}, the model takes {config.picture}")
        pixels = jnp.asarray(pictures).astype(config.dtype)
        patches = einops.rearrange(pixels, "b (h p) (w q) c -> b (h w) (p q c)", p=patch, q=patch)
        x = patches @ self.patch_embedding[...].reshape(-1, config.dim).astype(pixels.dtype)
        first = jnp.broadcast_to(self.class_token[...].astype(x.dtype), (len(x), 1, config.dim))
        x = jnp.concatenate([first, x], axis=1) + self.positions[...].astype(x.dtype)
        return run_layers(self.blocks, self.norm_in(x).astype(x.dtype), lambda block, h: block(h), stop=blocks)
