"""The bank: every frame that a story has so far, with its latent. It grows on the host; the model sees a pack of it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from stage_jax.models.sequence import BASE_KERNEL
from stage_jax.recipes.memory import Slot, bank_frames, fill_slots, pack, slot_sizes
from stage_jax.recipes.step2 import Memory, memory_slots
from stage_jax.story.board import MemoryEntry
from stage_jax.story.types import Scene, Shot, Story


class Bank:
    """Start and end frames of the shots drawn so far, in story order."""

    def __init__(self, story: Story, latent_shape: tuple[int, int, int]):
        self.story = story
        self.shots: list[tuple[Scene, Shot]] = []
        self.latents = np.zeros((0, *latent_shape), np.float32)

    def add(self, scene: Scene, shot: Shot, pair: Float[np.ndarray, "2 c h w"]) -> None:
        self.shots.append((scene, shot))
        self.latents = np.concatenate([self.latents, pair])

    def pack(self, scene: Scene, shot: Shot) -> tuple[Slot, ...]:
        """What the memory pack of this next shot holds."""
        slots = len(slot_sizes(*self.latents.shape[2:]))
        return pack(bank_frames(self.shots), shot.characters, scene.location, slots)

    def entries(self, chosen: Sequence[Slot]) -> tuple[MemoryEntry, ...]:
        """A pack as the board tells of it: which frames, their share of a frame's tokens, why."""
        h, w = self.latents.shape[2:]
        areas = [rows * columns for rows, columns in ((h, w), *slot_sizes(h, w))]  # in latents
        return tuple(
            MemoryEntry(
                shot=self.story.shot_name(*self.shots[slot.frame // 2]),
                which="end" if slot.frame % 2 else "start",
                rank=rank,
                area=areas[rank] / areas[0],
                tokens=areas[rank] // math.prod(BASE_KERNEL),
                score=slot.score,
                why=slot.why,
            )
            for rank, slot in enumerate(chosen)
        )


def stack_memory(banks: Sequence[Bank], packs: Sequence[Sequence[Slot]]) -> Memory:
    """The packs of several stories as one batch."""
    slots = memory_slots(*banks[0].latents.shape[2:])
    filled = [fill_slots(chosen, bank.latents, slots) for bank, chosen in zip(banks, packs, strict=True)]
    latents, valid, hints = (np.stack(arrays) for arrays in zip(*filled, strict=True))
    return Memory(latents, valid, hints)
