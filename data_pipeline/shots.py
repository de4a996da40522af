"""Training examples for STEP2 and the filler, drawn from cached latents: one shot with its caption and its history."""

from __future__ import annotations

import functools
from typing import SupportsIndex

import grain
import numpy as np

from data_pipeline.cache import Latents
from data_pipeline.loader import examples
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.recipes.memory import bank_frames, fill_slots, pack

Batch = dict[str, np.ndarray]


class ShotSource:
    """Random access to every shot of a cache, as Grain wants it: (index of its story, index in the story)."""

    def __init__(self, cache: Latents, tokenizer: WordTokenizer):
        self.cache = cache
        self.shots = [list(story.shots()) for story in cache.stories]
        self.banks = [bank_frames(shots) for shots in self.shots]
        self.where = [(s, i) for s, shots in enumerate(self.shots) for i in range(len(shots))]
        self.ids, self.mask = tokenizer.encode([shot.description for shots in self.shots for _, shot in shots])
        self.null = tokenizer.encode([""])

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: SupportsIndex) -> tuple[int, int]:
        return self.where[index]

    def caption(self, story: int, shot: int, drop: bool) -> tuple[np.ndarray, np.ndarray]:
        """Token ids and mask; those of the empty caption if dropped."""
        row = self.cache.first_shot[story] + shot
        return (self.null[0][0], self.null[1][0]) if drop else (self.ids[row], self.mask[row])

    def memory(self, story: int, shot: int, kept: list[bool], slots: int) -> Batch:
        """The pack of a shot from the earlier shots that are `kept`."""
        scene, target = self.shots[story][shot]
        rows = [2 * s + end for s in range(shot) if kept[s] for end in (0, 1)]
        chosen = pack([self.banks[story][row] for row in rows], target.characters, scene.location, slots - 1)
        first = self.cache.first_shot[story]
        history = self.cache.latents[first : first + shot]
        frames = history.reshape(-1, *history.shape[2:])[rows]
        latents, valid, hints = fill_slots(chosen, frames, slots)
        return {"memory_latents": latents, "memory_valid": valid, "memory_hints": hints}


def pair_examples(
    source: ShotSource, slots: int, dropout: dict[str, float], seed: int, longest: int | None = None
) -> grain.MapDataset:
    """pair [2, C, h, w], ids and mask [L], memory_latents [slots, C, h, w], memory_valid [slots], memory_hints.

    dropout: `caption` puts the empty caption in its place, `history` hides all memory, `pair` hides each earlier shot.
    longest: the history is the last 0 to `longest` shots, each number as often (STAGE does not say; 5 is its demo's); None:
    all of them."""
    return examples(source, seed, functools.partial(pair_example, source, slots, dropout, longest))


def clip_examples(source: ShotSource, caption_dropout: float, seed: int) -> grain.MapDataset:
    """clip and condition [C, t, h, w], ids and mask [L]."""
    return examples(source, seed, functools.partial(_clip, source, caption_dropout))


def pair_example(
    source: ShotSource,
    slots: int,
    dropout: dict[str, float],
    longest: int | None,
    where: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    story, shot = where
    ids, mask = source.caption(story, shot, rng.random() < dropout["caption"])
    blank = rng.random() < dropout["history"]
    kept = [not blank and rng.random() >= dropout["pair"] for _ in range(shot)]
    if longest is not None:
        first = shot - int(rng.integers(longest + 1))
        kept = [keep and s >= first for s, keep in enumerate(kept)]
    memory = source.memory(story, shot, kept, slots)
    pair = source.cache.latents[source.cache.first_shot[story] + shot]
    return {"pair": pair.astype(np.float32), "ids": ids, "mask": mask} | memory


def _clip(source: ShotSource, caption_dropout: float, where: tuple[int, int], rng: np.random.Generator) -> Batch:
    story, shot = where
    ids, mask = source.caption(story, shot, rng.random() < caption_dropout)
    clip, condition = source.cache.latents[source.cache.first_shot[story] + shot]
    return {
        "clip": clip.astype(np.float32), "condition": condition.astype(np.float32), "ids": ids, "mask": mask,
    }  # fmt: skip
