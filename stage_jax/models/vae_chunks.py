"""Going through a clip chunk by chunk, with what causal layers have to remember between the chunks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


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


def in_chunks(
    coder: Callable[[Array, Past], Array], x: Float[Array, "b t h w c"], taken: int, given: int
) -> Float[Array, "b s y x d"]:
    """`coder` over the first frame, then over `taken` frames at a time, of which it makes `given`.

    The results are written into the array that is returned, so that memory beside it holds one chunk, however long the clip.
    """
    past = Past()
    first = coder(x[:, :1], past)
    chunks = (x.shape[1] - 1) // taken
    if not chunks:
        return first
    whole = jnp.zeros((first.shape[0], 1 + chunks * given, *first.shape[2:]), first.dtype).at[:, :1].set(first)

    def step(carry, i):
        kept, whole = carry
        past = Past(kept)
        made = coder(jax.lax.dynamic_slice_in_dim(x, 1 + i * taken, taken, axis=1), past)
        return (past.left, jax.lax.dynamic_update_slice_in_dim(whole, made, 1 + i * given, axis=1)), None

    (_, whole), _ = jax.lax.scan(step, (past.left, whole), jnp.arange(chunks))
    return whole
