"""Latents to tokens and back: a table of patch kernels, the base one of Wan and coarser ones that start as its mean."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import einops
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from stage_jax.models.layers import linear
from stage_jax.models.sequence import AnyArray, Kernel, Segment

BASE = "patch_embedding.base.kernel"  # the base kernel's path in a DiT


def kernel_name(kernel: Kernel) -> str:
    """(1, 4, 4) -> "1x4x4", the name of its parameters."""
    return "x".join(map(str, kernel))


def patches(latent: Float[Array, "b c t h w"], kernel: Kernel) -> Float[Array, "b n p"]:
    """Patch vectors in (C, pt, ph, pw) order, tokens in (T, H, W) order."""
    pt, ph, pw = kernel
    return einops.rearrange(latent, "b c (t pt) (h ph) (w pw) -> b (t h w) (c pt ph pw)", pt=pt, ph=ph, pw=pw)


def unpatchify(tokens: Float[Array, "b n p"], grid: tuple[int, int, int], kernel: Kernel) -> Float[Array, "b c t h w"]:
    """The inverse for outputs, whose patch vectors are in (pt, ph, pw, C) order."""
    (t, h, w), (pt, ph, pw) = grid, kernel
    return einops.rearrange(tokens, "b (t h w) (pt ph pw c) -> b c (t pt) (h ph) (w pw)", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def tiled_kernel(base: Float[Array, "c t h w dim"], channels: int, kernel: Kernel) -> Float[Array, "d pt ph pw dim"]:
    """A coarse kernel whose token is the mean of the base tokens it covers: the base kernel's first channels, tiled,
    divided by the count.
    """
    tiling = [side // small for side, small in zip(kernel, base.shape[1:4], strict=True)]
    return jnp.tile(base[:channels], (1, *tiling, 1)) / prod(tiling)


def widened(params: Mapping[str, Array], in_channels: int) -> dict[str, Array]:
    """A DiT's parameters for more input channels: the new ones, after the others, start at zero, so that whatever they hold the
    outputs are what they were. A text-to-video model becomes a first/last-frame model that way, which needs no CLIP: its
    latent comes first, mask and given pictures after it. Coarse kernels, of plain latents, stay as they are.

    ValueError for fewer channels than there are.
    """
    kernel = params[BASE]
    missing = in_channels - kernel.shape[0]
    if missing < 0:
        raise ValueError(f"a patch embedding of {kernel.shape[0]} channels cannot be widened to {in_channels}")
    return {**params, BASE: jnp.pad(kernel, [(0, missing)] + [(0, 0)] * (kernel.ndim - 1))}


class PatchKernel(nnx.Module):
    """kernel [C, pt, ph, pw, dim] and bias [dim]."""

    def __init__(self, kernel: Float[Array, "c pt ph pw dim"]):
        self.kernel = nnx.Param(kernel)
        self.bias = nnx.Param(jnp.zeros(kernel.shape[-1:], kernel.dtype))

    def __call__(self, vectors: Float[Array, "b n p"]) -> Float[Array, "b n dim"]:
        """Vectors with fewer channels than the kernel meet its first channels only, as if the others were zero."""
        kernel = self.kernel[...]
        return linear(vectors, kernel.reshape(-1, kernel.shape[-1])[: vectors.shape[-1]], self.bias[...])


class PatchEmbedding(nnx.Module):
    """The patch kernels by size. The base kernel takes all input channels; coarse ones take a latent's (context is
    plain latents).
    """

    def __init__(self, kernels: tuple[Kernel, ...], in_channels: int, latent_channels: int, dim: int, rngs: nnx.Rngs):
        base, *coarse = kernels
        shape = (in_channels * prod(base), dim)
        first = nnx.initializers.xavier_uniform()(rngs.params(), shape, jnp.float32).reshape(in_channels, *base, dim)
        self.base = PatchKernel(first)
        self.coarse = nnx.Dict(
            {kernel_name(kernel): PatchKernel(tiled_kernel(first, latent_channels, kernel)) for kernel in coarse}
        )
        self.base_size = base
        self.in_channels, self.latent_channels = in_channels, latent_channels

    def __call__(self, segment: Segment, dtype: jnp.dtype) -> Float[Array, "b n dim"]:
        """Tokens of a segment. Patches that are not valid are zeroed BEFORE the projection, else 0 * NaN reaches its
        gradient.
        """
        self._check(segment)
        latent = jnp.asarray(segment.latent)
        vectors = zero_invalid(patches(latent, segment.kernel), segment.valid).astype(dtype)
        is_base = segment.kernel == self.base_size
        return (self.base if is_base else self.coarse[kernel_name(segment.kernel)])(vectors)

    def _check(self, segment: Segment) -> None:
        base = segment.kernel == self.base_size
        if not base and kernel_name(segment.kernel) not in self.coarse:
            raise ValueError(f"segment with the patch kernel {segment.kernel}, of which the model has no weights")
        if segment.target and not base:
            raise ValueError(f"target segment with the patch kernel {segment.kernel}; targets need {self.base_size}")
        allowed = {self.in_channels} if segment.target else {self.in_channels if base else 0, self.latent_channels}
        if segment.latent.shape[1] not in allowed:
            raise ValueError(f"segment with {segment.latent.shape[1]} channels, the model takes {sorted(allowed)}")


def zero_invalid(values: Float[Array, "b_or_1 n d"], valid: Bool[AnyArray, "b n"] | None) -> Float[Array, "_ n d"]:
    """Zeros, and zero gradients, in the rows that are not valid."""
    return values if valid is None else jnp.where(jnp.asarray(valid)[..., None], values, 0)
