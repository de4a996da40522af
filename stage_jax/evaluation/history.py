"""True histories: the latents of a story's true pairs as a bank, and the memory packs that every shot would see of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stage_jax.evaluation.batches import mapped
from stage_jax.evaluation.held_out import HeldOut
from stage_jax.evaluation.vae import STILLS
from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.models import PictureCodec
from stage_jax.recipes.memory import Slot
from stage_jax.recipes.step2 import Memory
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.recipes.step2_text import story_texts

Example = tuple[int, int]  # index of the history, index of the shot


@dataclasses.dataclass(frozen=True, eq=False)
class History:
    """bank: all true pairs of the story. packs: of each shot, chosen among the shots before it."""

    held: HeldOut
    bank: Bank
    packs: tuple[tuple[Slot, ...], ...]

    def pair(self, shot: int) -> Float[np.ndarray, "2 c h w"]:
        return self.bank.latents[2 * shot : 2 * shot + 2]

    def caption(self, shot: int) -> str:
        return story_texts(self.held.story, self.bank.recipe)[shot]


def true_history(held: HeldOut, latents: Float[np.ndarray, "shots 2 c h w"], recipe: STEP2Config = TINY) -> History:
    """The history of a story whose pairs have these latents."""
    bank = Bank(held.story, latents.shape[2:], recipe)
    packs = []
    for (scene, shot), pair in zip(held.shots, latents, strict=True):
        packs.append(bank.pack(scene, shot))
        bank.add(scene, shot, pair)
    return History(held, bank, tuple(packs))


def true_histories(
    codec: PictureCodec,
    stories: Sequence[HeldOut],
    progress: Callable[[int, int], None] | None = None,
    recipe: STEP2Config = TINY,
) -> list[History]:
    """The histories of stories under a VAE, every frame encoded alone."""
    frames = np.concatenate([held.pairs.reshape(-1, *held.pairs.shape[2:]) for held in stories])
    latents = mapped(lambda rows: np.asarray(codec.encode_stills(frames[rows])), len(frames), STILLS, progress)
    ends = np.cumsum([len(held.pairs) for held in stories])
    pairs = latents.reshape(-1, 2, *latents.shape[1:])
    return [true_history(held, part, recipe) for held, part in zip(stories, np.split(pairs, ends[:-1]), strict=True)]


def examples(histories: Sequence[History], first_shot: int = 0) -> list[Example]:
    """Every shot from `first_shot` on of every story."""
    return [(s, i) for s, history in enumerate(histories) for i in range(first_shot, len(history.packs))]


def memory_of(histories: Sequence[History], chosen: Sequence[Example]) -> Memory:
    """The true memory of some shots, as one batch."""
    return stack_memory([histories[s].bank for s, _ in chosen], [histories[s].packs[i] for s, i in chosen])


def no_memory(memory: Memory) -> Memory:
    """A memory of the same shape that holds nothing."""
    return jax.tree.map(jnp.zeros_like, memory)


def elsewhere(histories: Sequence[History], example: Example) -> Example:
    """A shot of another story with as much history: the same shot of the next story that has it (the last shot of the
    longest one if none has). ValueError if there is no other story."""
    story, shot = example
    others = [(story + k) % len(histories) for k in range(1, len(histories))]
    if not others:
        raise ValueError("another story's memory: found one story, expected two or more")
    other = max(others, key=lambda s: min(len(histories[s].packs), shot + 1))
    return other, min(shot, len(histories[other].packs) - 1)
