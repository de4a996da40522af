"""How the tokens of a sequence lie on the device: [B, parts, n, ...], every part holding its share of every segment.

Segments are joined on the local axis n, so that joining them and cutting out the tokens of a caption moves nothing
between devices when the parts axis is sharded. All of it is static.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from stage_jax.models.sequence import TokenSequence


@dataclass(frozen=True)
class Layout:
    """Static place of every segment. Tuples run over the segments in the order of the sequence.

    sizes: tokens. starts: first local index. captions, slots: caption index, timestep slot. tail: local tokens of
    padding after the last segment. Segments are sorted by caption, so that each caption's tokens are one local slice.
    """

    parts: int
    sizes: tuple[int, ...]
    starts: tuple[int, ...]
    captions: tuple[int, ...]
    slots: tuple[int, ...]
    tail: int

    @classmethod
    def of(cls, sequence: TokenSequence) -> Layout:
        parts = sequence.context_parts
        sizes = tuple(segment.size for segment in sequence.segments)
        captions = tuple(segment.caption for segment in sequence.segments)
        starts, end = [0] * len(sizes), 0
        for s in sorted(range(len(sizes)), key=lambda s: captions[s]):
            starts[s] = end
            end += -(-sizes[s] // parts)
        length = end
        if sequence.block is not None:
            while (parts * length) % sequence.block:
                length += 1
        slots = tuple(segment.t_slot for segment in sequence.segments)
        return cls(parts, sizes, tuple(starts), captions, slots, length - end)

    @cached_property
    def widths(self) -> tuple[int, ...]:
        """Local tokens of each segment, padding included."""
        return tuple(-(-size // self.parts) for size in self.sizes)

    @cached_property
    def length(self) -> int:
        """Local tokens n."""
        return sum(self.widths) + self.tail

    @cached_property
    def padded(self) -> bool:
        return self.parts * self.length != sum(self.sizes)

    @cached_property
    def groups(self) -> tuple[tuple[int, int, int], ...]:
        """(caption, local start, local stop) in local order; the tail counts to the last caption."""
        found: dict[int, list[int]] = {}
        for caption, start, width in sorted(zip(self.captions, self.starts, self.widths, strict=True)):
            found.setdefault(caption, [start, start])[1] = start + width
        last = max(found)
        found[last][1] += self.tail
        return tuple((caption, start, stop) for caption, (start, stop) in found.items())

    def token_slots(self) -> np.ndarray:
        """Timestep slot of each local token, [n]; 0 in the tail."""
        slots = np.zeros(self.length, np.int32)
        for start, width, slot in zip(self.starts, self.widths, self.slots, strict=True):
            slots[start : start + width] = slot
        return slots

    def pack(self, values: Sequence[Shaped[Array, "..."]]) -> Shaped[Array, "..."]:
        """One array [B or 1, N_s, ...] per segment -> [B or 1, parts, n, ...], zeros (False) in the padding."""
        batch = max(value.shape[0] for value in values)
        pieces: list[jax.Array] = []
        for s in sorted(range(len(values)), key=lambda s: self.starts[s]):
            value = jnp.broadcast_to(values[s], (batch, *values[s].shape[1:]))
            missing = self.parts * self.widths[s] - self.sizes[s]
            if missing:
                value = jnp.pad(value, [(0, 0), (0, missing)] + [(0, 0)] * (value.ndim - 2))
            pieces.append(value.reshape(batch, self.parts, self.widths[s], *value.shape[2:]))
        if self.tail:
            pieces.append(jnp.zeros((batch, self.parts, self.tail, *pieces[0].shape[3:]), pieces[0].dtype))
        return pieces[0] if len(pieces) == 1 else jnp.concatenate(pieces, axis=2)

    def unpack(self, values: Shaped[Array, "..."], segment: int) -> Shaped[Array, "..."]:
        """[B, parts, n, ...] -> the tokens of one segment, [B, N_s, ...]."""
        start, width = self.starts[segment], self.widths[segment]
        local = values[:, :, start : start + width]
        return local.reshape(local.shape[0], self.parts * width, *local.shape[3:])[:, : self.sizes[segment]]

    def unpack_all(self, values: Shaped[Array, "..."]) -> Shaped[Array, "..."]:
        """[B, parts, n, ...] -> the tokens of all segments in the order of the sequence, [B, N, ...]."""
        return jnp.concatenate([self.unpack(values, s) for s in range(len(self.sizes))], axis=1)


def packed_mask(sequence: TokenSequence, layout: Layout) -> Bool[Array, "b parts n"] | None:
    """True where a token is there, or None where all of them are, statically. [B or 1, parts, n]."""
    if not layout.padded and all(segment.valid is None for segment in sequence.segments):
        return None
    return layout.pack(
        [
            jnp.ones((1, segment.size), bool) if segment.valid is None else jnp.asarray(segment.valid)
            for segment in sequence.segments
        ]
    )
