"""Going through a clip chunk by chunk, with what causal layers have to remember between the chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Shaped


class Past:
    """The frames before a chunk. Every layer that looks back takes its own, in the order of the calls, and leaves the ones
    that the next chunk will need. One object serves one chunk while it is traced.
    """

    def __init__(self, kept: Sequence[Array] | None = None):
        self._kept = kept
        self.left: list[Array] = []

    @property
    def empty(self) -> bool:
        """Whether the chunk is the first one of its clip, which is its first frame alone."""
        return self._kept is None

    def take(self) -> Float[Array, "b n h w c"]:
        """The frames that the layer whose turn it is has left at the chunk before."""
        assert self._kept is not None
        return self._kept[len(self.left)]

    def leave(self, frames: Float[Array, "b n h w c"]) -> None:
        self.left.append(frames)


Take: TypeAlias = Callable[[int | Int[Array, ""], int], Array]  # (first frame, how many) -> [b, n, h, w, c]


def frames_of(x: Float[Array, "b t h w c"]) -> Take:
    """The frames of a clip that is there as a whole."""
    return lambda start, count: jax.lax.dynamic_slice_in_dim(x, start, count, axis=1)


def kept_after(coder: Callable[[Array, Past], Array], take: Take, chunks: int, taken: int) -> list[Array]:
    """What `coder` has left for the chunk that follows the first frame and `chunks` times `taken` frames."""

    def step(kept, i):
        past = Past(kept)
        coder(take(1 + i * taken, taken), past)
        return past.left, None

    past = Past()
    coder(take(0, 1), past)
    return jax.lax.scan(step, past.left, jnp.arange(chunks))[0] if chunks else past.left


def in_chunks(
    coder: Callable[[Array, Past], Array], take: Take, chunks: int, taken: int, given: int
) -> Shaped[Array, "b s y x d"]:
    """`coder` over the first frame, then over `chunks` times `taken` frames, of which it makes `given` each time.

    The results are written into the array that is returned, so that memory beside it holds one chunk, however long the clip.
    """
    past = Past()
    first = coder(take(0, 1), past)
    if not chunks:
        return first
    whole = jnp.zeros((first.shape[0], 1 + chunks * given, *first.shape[2:]), first.dtype).at[:, :1].set(first)

    def step(carry, i):
        kept, whole = carry
        past = Past(kept)
        made = coder(take(1 + i * taken, taken), past)
        return (past.left, jax.lax.dynamic_update_slice_in_dim(whole, made, 1 + i * given, axis=1)), None

    (_, whole), _ = jax.lax.scan(step, (past.left, whole), jnp.arange(chunks))
    return whole
