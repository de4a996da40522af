"""The bank: every frame that a story has so far, with its latent, behind the references of its characters. It grows on the
host; the model sees a pack of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from stage_jax.models.sequence import BASE_KERNEL
from stage_jax.recipes.memory import BankFrame, Slot, fill_slots, pack, reference_frame, shot_frames
from stage_jax.recipes.packing import memory_sizes
from stage_jax.recipes.ranking import Evidence, relevance_by
from stage_jax.recipes.step2 import Memory
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.story.board import MemoryEntry, Reference
from stage_jax.story.hashes import pixel_hash
from stage_jax.story.types import Scene, Shot, Story


class Rows:
    """An array that grows at its end, and is copied now and then: as often as it doubles, not with every row."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._held, self._count = np.zeros((8, *shape), np.float32), 0

    def extend(self, rows: Float[np.ndarray, "n ..."]) -> None:
        end = self._count + len(rows)
        if end > len(self._held):
            held = np.zeros((max(end, 2 * len(self._held)), *self._held.shape[1:]), np.float32)
            held[: self._count] = self.array
            self._held = held
        self._held[self._count : end] = rows
        self._count = end

    @property
    def array(self) -> Float[np.ndarray, "n ..."]:
        """All rows so far; not to be written to."""
        return self._held[: self._count]


class Bank:
    """Reference pictures, then start and end frames of the shots drawn so far, in story order, for a model of this recipe.

    pictures: CLIP embeddings of the frames, where the recipe ranks by them, else None."""

    def __init__(self, story: Story, latent_shape: tuple[int, int, int], recipe: STEP2Config = TINY):
        self.story, self.recipe = story, recipe
        self.references: list[Reference] = []
        self.shots: list[tuple[Scene, Shot]] = []
        self._latents, self._pictures = Rows(latent_shape), None
        self._frames: list[BankFrame] = []
        self._hashes: list[str] = []  # of the frames' latents
        self.sizes = memory_sizes(recipe, *latent_shape[1:])

    @property
    def latents(self) -> Float[np.ndarray, "n c h w"]:
        return self._latents.array

    @property
    def pictures(self) -> Float[np.ndarray, "n d"] | None:
        return None if self._pictures is None else self._pictures.array

    def add(
        self,
        scene: Scene,
        shot: Shot,
        pair: Float[np.ndarray, "2 c h w"],
        pictures: Float[np.ndarray, "2 d"] | None = None,
    ) -> None:
        self._frames += shot_frames(len(self.shots), scene, shot)
        self.shots.append((scene, shot))
        self._append(pair, pictures)

    def add_reference(
        self,
        reference: Reference,
        latent: Float[np.ndarray, "1 c h w"],
        picture: Float[np.ndarray, "1 d"] | None = None,
    ) -> None:
        """ValueError once there are shots: references stand before all of them."""
        if self.shots:
            raise ValueError(f"reference of {reference.character}: found {len(self.shots)} shots before it, expected none")
        self._frames.append(reference_frame(reference.character))
        self.references.append(reference)
        self._append(latent, picture)

    def pack(self, scene: Scene, shot: Shot, text: Float[np.ndarray, " d"] | None = None) -> tuple[Slot, ...]:
        """What the memory pack of this next shot holds. text: the CLIP embedding of its description, where it is ranked by."""
        scores = relevance_by(self.recipe.ranking, Evidence(self.latents, self.pictures, text, len(self.references)))
        return pack(self._frames, shot.characters, scene.location, self.recipe, len(self.sizes), scores)

    def content(self, chosen: Sequence[Slot]) -> list[list[str | float]]:
        """All of a pack that reaches the model, as JSON values: hashes of the latents, and hints."""
        return [[self._hashes[slot.frame], *slot.hints] for slot in chosen]

    def entries(self, chosen: Sequence[Slot]) -> tuple[MemoryEntry, ...]:
        """A pack as the board tells of it: which frames, their share of a frame's tokens, why."""
        h, w = self.latents.shape[2:]
        areas = [rows * columns for rows, columns in self.sizes]  # in latents
        return tuple(
            MemoryEntry(
                **self._named(slot.frame),
                rank=rank,
                area=areas[rank] / (h * w),
                tokens=areas[rank] // math.prod(BASE_KERNEL),
                score=slot.score,
                why=slot.why,
            )
            for rank, slot in enumerate(chosen)
        )

    def _named(self, frame: int) -> dict[str, Any]:
        """Which frame it is, in the words of `MemoryEntry`."""
        if frame < len(self.references):
            reference = self.references[frame]
            return {"shot": "", "which": "reference", "character": reference.character, "number": reference.number}
        shot, end = divmod(frame - len(self.references), 2)
        return {"shot": self.story.shot_name(*self.shots[shot]), "which": "end" if end else "start"}

    def _append(self, latents: Float[np.ndarray, "n c h w"], pictures: Float[np.ndarray, "n d"] | None) -> None:
        self._latents.extend(latents)
        self._hashes += [pixel_hash(latent) for latent in latents]
        if pictures is not None:
            self._pictures = self._pictures or Rows(pictures.shape[1:])
            self._pictures.extend(pictures)


def stack_memory(banks: Sequence[Bank], packs: Sequence[Sequence[Slot]]) -> Memory:
    """The packs of several stories as one batch; the banks have one recipe."""
    slots = len(banks[0].sizes)
    filled = [fill_slots(chosen, bank.latents, slots) for bank, chosen in zip(banks, packs, strict=True)]
    latents, valid, hints = (np.stack(arrays) for arrays in zip(*filled, strict=True))
    return Memory(latents, valid, hints)
