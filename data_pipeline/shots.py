"""Training examples for STEP2 and the filler, drawn from cached latents: one shot with its caption and its history."""

from __future__ import annotations

import copy
import functools
from typing import SupportsIndex

import grain
import numpy as np
from jaxtyping import Float

from data_pipeline.cache import Latents, Pictures, Texts
from data_pipeline.loader import Examples
from stage_jax.errors import InputError
from stage_jax.models.piece_tokenizer import Tokenizer
from stage_jax.recipes.memory import bank_frames, fill_slots, pack
from stage_jax.recipes.ranking import Evidence, relevance_by
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.recipes.step2_text import story_texts

Batch = dict[str, np.ndarray]


class ShotSource:
    """Random access to every shot of a cache, as Grain wants it: (index of its story, index in the story).

    captions: a tokenizer, whose ids the examples then hold, or the embedded texts of the same recipe. pictures: CLIP's view of
    all pairs, for recipes that rank by it or show its tokens."""

    def __init__(
        self, cache: Latents, captions: Tokenizer | Texts, recipe: STEP2Config = TINY, pictures: Pictures | None = None
    ):
        self.cache, self.recipe, self.pictures = cache, recipe, pictures
        self.shots = [list(story.shots()) for story in cache.stories]
        self.banks = [bank_frames(shots) for shots in self.shots]
        self.where = [(s, i) for s, shots in enumerate(self.shots) for i in range(len(shots))]
        self.texts: Batch | Texts
        if isinstance(captions, Texts):
            self.texts = captions
        else:
            lines = [text for story in cache.stories for text in story_texts(story, recipe)]
            self.texts = dict(zip(("ids", "mask"), captions.encode([*lines, ""]), strict=True))

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: SupportsIndex) -> tuple[int, int]:
        return self.where[index]

    def crowded(self) -> ShotSource:
        """The same with those shots alone that show two or more characters. InputError if there are none."""
        found = copy.copy(self)
        found.where = [(s, i) for s, i in self.where if len(self.shots[s][i][1].characters) > 1]
        if not found.where:
            raise InputError("config.data.crowded: found no shot with two or more characters in the records, expected some")
        return found

    def caption(self, story: int, shot: int, drop: bool) -> Batch:
        """ids and mask [L] of a shot's text, or its embedding caption [L, D]; those of the empty text if dropped."""
        row = -1 if drop else self.cache.first_shot[story] + shot
        if isinstance(self.texts, Texts):
            return {"caption": self.texts.embeddings[row].astype(np.float32)}
        return {name: rows[row] for name, rows in self.texts.items()}

    def memory(self, story: int, shot: int, kept: list[bool], slots: int) -> Batch:
        """The pack of a shot from the earlier shots that are `kept`, and CLIP's tokens of their last frame."""
        scene, target = self.shots[story][shot]
        rows = [2 * s + end for s in range(shot) if kept[s] for end in (0, 1)]
        first = self.cache.first_shot[story]
        frames = _frames(self.cache.latents[first : first + shot])[rows]
        scores = relevance_by(self.recipe.ranking, self._evidence(first, shot, rows, frames))
        bank = [self.banks[story][row] for row in rows]
        chosen = pack(bank, target.characters, scene.location, self.recipe, slots, scores)
        latents, valid, hints = fill_slots(chosen, frames, slots)
        found = {"memory_latents": latents, "memory_valid": valid, "memory_hints": hints}
        if self.recipe.image_tokens:
            tokens = self.pictures.tokens
            last = tokens[first + rows[-1] // 2] if rows else np.zeros(tokens.shape[1:])
            found["image_tokens"] = last.astype(np.float32)
        return found

    def _evidence(self, first: int, shot: int, rows: list[int], frames: Float[np.ndarray, "n c h w"]) -> Evidence:
        seen = self.pictures
        if seen is None or seen.frames is None:
            return Evidence(frames)
        text = None if seen.texts is None else seen.texts[first + shot]
        return Evidence(frames, _frames(seen.frames[first : first + shot])[rows], text)


def _frames(pairs: Float[np.ndarray, "shots 2 *rest"]) -> Float[np.ndarray, "frames *rest"]:
    return pairs.reshape(-1, *pairs.shape[2:])


def pair_examples(
    source: ShotSource,
    slots: int,
    dropout: dict[str, float],
    seed: int,
    longest: int | None = None,
    crowded: float = 0.0,
) -> grain.MapDataset:
    """pair [2, C, h, w], caption or ids and mask [L], memory_latents [slots, C, h, w], memory_valid [slots], memory_hints;
    image_tokens [M, E] and shown [2] where recipe and dropout have them.

    dropout: `caption` puts the empty caption in its place, `history` hides all memory, `pair` hides each earlier shot, `frame`,
    where it is named, hides one of the two frames, so that the model can also be asked for one frame alone. longest: the
    history is the last 0 to `longest` shots, each number as often (STAGE does not say; 5 is its demo's); None: all of them.
    crowded: this share of the examples, below 1, comes from the shots with two or more characters alone, which are rarer and
    harder (our choice), the rest from all shots."""
    pick = functools.partial(pair_example, source, slots, dropout, longest)
    evenly = Examples(source, seed, pick)
    if not crowded:
        return evenly
    return grain.MapDataset.mix([evenly, Examples(source.crowded(), seed, pick)], weights=[1 - crowded, crowded])


def clip_examples(source: ShotSource, caption_dropout: float, seed: int) -> grain.MapDataset:
    """clip and condition [C, t, h, w], ids and mask [L]."""
    return Examples(source, seed, functools.partial(_clip, source, caption_dropout))


def pair_example(
    source: ShotSource,
    slots: int,
    dropout: dict[str, float],
    longest: int | None,
    where: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    story, shot = where
    caption = source.caption(story, shot, rng.random() < dropout["caption"])
    blank = rng.random() < dropout["history"]
    kept = [not blank and rng.random() >= dropout["pair"] for _ in range(shot)]
    if longest is not None:
        first = shot - int(rng.integers(longest + 1))
        kept = [keep and s >= first for s, keep in enumerate(kept)]
    memory = source.memory(story, shot, kept, slots)
    pair = source.cache.latents[source.cache.first_shot[story] + shot]
    shown = {}
    if "frame" in dropout:
        hidden = int(rng.integers(2)) if rng.random() < dropout["frame"] else None
        shown = {"shown": np.arange(2) != hidden if hidden is not None else np.ones(2, bool)}
    return {"pair": pair.astype(np.float32)} | caption | memory | shown


def _clip(source: ShotSource, caption_dropout: float, where: tuple[int, int], rng: np.random.Generator) -> Batch:
    story, shot = where
    caption = source.caption(story, shot, rng.random() < caption_dropout)
    clip, condition = source.cache.latents[source.cache.first_shot[story] + shot]
    return {"clip": clip.astype(np.float32), "condition": condition.astype(np.float32)} | caption
