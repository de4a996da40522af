"""The token sequence: the only input of the DiT, made of segments that share a patch kernel, a timestep and a caption.

Where a token sits in time and space is said by its position, never by its place in an array. What is absent is marked
in ``valid``; it may hold anything, NaN included, without a trace in outputs or gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from math import prod
from typing import TypeAlias, TypeVar

import jax
import numpy as np
from jaxtyping import Bool, Float

AnyArray: TypeAlias = jax.Array | np.ndarray | jax.ShapeDtypeStruct
Kernel: TypeAlias = tuple[int, int, int]
T = TypeVar("T")

BASE_KERNEL: Kernel = (1, 2, 2)
MAX_TIMESTEPS = 3


def pytree(data: tuple[str, ...]) -> Callable[[type[T]], type[T]]:
    """Register a frozen dataclass as a pytree whose leaves are the fields ``data``; all other fields are static.

    Rebuilding the object from its leaves skips ``__init__``, because JAX puts markers and shapes in place of arrays.
    """

    def register(cls: type[T]) -> type[T]:
        static = tuple(f.name for f in fields(cls) if f.name not in data)

        def flatten(node: T) -> tuple[tuple, tuple]:
            return tuple(getattr(node, name) for name in data), tuple(getattr(node, name) for name in static)

        def flatten_with_keys(node: T) -> tuple[tuple, tuple]:
            leaves, aux = flatten(node)
            return tuple((jax.tree_util.GetAttrKey(k), v) for k, v in zip(data, leaves, strict=True)), aux

        def unflatten(aux: tuple, leaves: Sequence) -> T:
            node = object.__new__(cls)
            for name, value in zip(data + static, (*leaves, *aux), strict=True):
                object.__setattr__(node, name, value)
            return node

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return register


@pytree(data=("latent", "positions", "valid"))
@dataclass(frozen=True)
class Segment:
    """A block of tokens with one patch kernel, one caption and one timestep.

    latent: [B, C, T, H, W]; every side a multiple of the kernel's. positions: [B or 1, N, 3] as (t, y, x) in units of
    base tokens, fractions allowed, N = T*H*W / prod(kernel) tokens in (T, H, W) order. valid: [B, N], or None where all
    tokens of all examples are valid (then no mask is compiled). kernel: (pt, ph, pw). caption: index into the
    sequence's captions. target: whether the model's output for it is wanted. t_slot: index into the sequence's
    timesteps.
    """

    latent: Float[AnyArray, "b c t h w"]
    positions: Float[AnyArray, "b_or_1 n 3"]
    valid: Bool[AnyArray, "b n"] | None = None
    kernel: Kernel = BASE_KERNEL
    caption: int = 0
    target: bool = True
    t_slot: int = 0

    def __post_init__(self) -> None:
        sides = self.latent.shape[2:]
        if any(side % k for side, k in zip(sides, self.kernel, strict=True)):
            raise ValueError(f"segment: latent sides {sides} are not multiples of the patch kernel {self.kernel}")
        if self.positions.shape[1] != self.size or self.positions.shape[0] not in (1, self.latent.shape[0]):
            raise ValueError(f"segment: {self.size} tokens, but positions have the shape {self.positions.shape}")
        if self.valid is not None and self.valid.shape != (self.latent.shape[0], self.size):
            raise ValueError(f"segment: {self.size} tokens, but valid has the shape {self.valid.shape}")

    @property
    def grid(self) -> tuple[int, int, int]:
        """Tokens along (T, H, W)."""
        t, h, w = (side // k for side, k in zip(self.latent.shape[2:], self.kernel, strict=True))
        return t, h, w

    @property
    def size(self) -> int:
        """Number of tokens N."""
        return prod(self.grid)


@pytree(data=("segments", "timesteps", "captions", "image_tokens"))
@dataclass(frozen=True)
class TokenSequence:
    """Everything one forward pass of the DiT sees.

    segments: targets first, context after. timesteps: [B, K] in [0, 1000], K <= 3, picked by each segment's ``t_slot``.
    captions: [B, n, L, D_text], text embeddings with zeros in the rows past the text. image_tokens: [B, M, D_image] for
    the CLIP branch of Wan2.1, else None. context_parts: over how many parts the tokens are split on the device; every
    part holds its share of EVERY segment. block: if given, the padded number of tokens is a multiple of it.
    """

    segments: tuple[Segment, ...]
    timesteps: Float[AnyArray, "b k"]
    captions: Float[AnyArray, "b n l d"]
    image_tokens: Float[AnyArray, "b m e"] | None = None
    context_parts: int = 1
    block: int | None = None

    def __post_init__(self) -> None:
        targets = [segment.target for segment in self.segments]
        if not any(targets) or targets != sorted(targets, reverse=True):
            raise ValueError("token sequence: at least one target segment, and all targets before all context")
        batch, slots = self.timesteps.shape
        if slots > MAX_TIMESTEPS:
            raise ValueError(f"token sequence: {slots} timesteps per example, at most {MAX_TIMESTEPS}")
        for i, segment in enumerate(self.segments):
            if segment.latent.shape[0] != batch or self.captions.shape[0] != batch:
                raise ValueError(f"token sequence: segment {i}, timesteps and captions differ in batch size")
            if not 0 <= segment.t_slot < slots:
                raise ValueError(f"token sequence: segment {i} has timestep slot {segment.t_slot} of {slots}")
            if not 0 <= segment.caption < self.captions.shape[1]:
                raise ValueError(f"token sequence: segment {i} has caption {segment.caption} of {self.captions.shape[1]}")
        if self.context_parts < 1:
            raise ValueError(f"token sequence: {self.context_parts} context parts")


def grid_positions(
    frames: int,
    height: int,
    width: int,
    kernel: Kernel = BASE_KERNEL,
    times: Sequence[float | int] | np.ndarray | None = None,
    full: tuple[int, int] | None = None,
    base: Kernel = BASE_KERNEL,
) -> Float[np.ndarray, "n 3"]:
    """Positions (t, y, x) of the token centres of a latent of ``frames`` x ``height`` x ``width``, in (T, H, W) order.

    times: one time per latent frame, 0..frames-1 by default; a token over several frames gets their mean. full: latent
    height and width of the picture this latent shows, where it is a smaller copy of it; the tokens then sit at the
    centres of their cells, (c + 1/2) * G/g - 1/2 for g tokens in place of G. So a coarse kernel's token sits at the
    mean of its fine ones.
    """
    pt, ph, pw = kernel
    full_height, full_width = full or (height, width)
    t = np.arange(frames, dtype=np.float64) if times is None else np.asarray(times, np.float64)
    if t.shape != (frames,) or frames % pt or height % ph or width % pw:
        raise ValueError(f"grid positions: {frames}x{height}x{width} latents, {t.size} times, patch kernel {kernel}")
    axes = (
        t.reshape(-1, pt).mean(axis=1),
        _cell_centres(height // ph, full_height / base[1]),
        _cell_centres(width // pw, full_width / base[2]),
    )
    return np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)


def _cell_centres(count: int, full: float) -> np.ndarray:
    return (np.arange(count) + 0.5) * (full / count) - 0.5
