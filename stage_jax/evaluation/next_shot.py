"""Ways to come to a film's next shot, its pair and its clip: drawn by models, and copied, for which no model is needed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import UInt8

from stage_jax.evaluation.filler import cross_fade
from stage_jax.evaluation.history import no_memory
from stage_jax.evaluation.nearness import Pairs
from stage_jax.evaluation.psnr import psnr
from stage_jax.evaluation.vae import clip_reconstructions, still_reconstructions
from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.clips import ClipSampler
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import PairSampler
from stage_jax.models.tokenizer import WordTokenizer, split_words
from stage_jax.recipes.step2_text import story_texts
from stage_jax.story.board import Pair
from stage_jax.story.types import Story

DRAWN = "drawn, memory"
Clips = UInt8[np.ndarray, "n frames h w 3"]


@dataclasses.dataclass(frozen=True, eq=False)
class FilmShots:
    """A story and the true clips of all its shots, whose first and last frames are their pairs."""

    story: Story
    clips: UInt8[np.ndarray, "shots frames h w 3"]

    @property
    def pairs(self) -> UInt8[np.ndarray, "shots 2 h w 3"]:
        return self.clips[:, [0, -1]]

    def earlier(self, shot: int) -> UInt8[np.ndarray, "frames h w 3"]:
        """Start and end frames of the shots before one."""
        return self.pairs[:shot].reshape(-1, *self.pairs.shape[2:])


@dataclasses.dataclass(frozen=True, eq=False)
class Artist:
    """Models with their samplers, whose programs are compiled once."""

    models: Models

    @functools.cached_property
    def draw(self) -> PairSampler:
        return PairSampler(self.models.step2, self.models.captions)

    @functools.cached_property
    def fill(self) -> ClipSampler:
        return ClipSampler(self.models)


def drawn_pairs(
    artist: Artist, film: FilmShots, shot: int, seeds: Sequence[int], *, memory: bool = True, caption: bool = True
) -> Pairs:
    """Pairs of one shot after the true pairs of those before it, one for each seed. memory, caption: without them the model is
    given none, and the empty text. Words that it does not know are left out."""
    models = artist.models
    bank = Bank(film.story, models.latent_shape(), models.step2.recipe)
    shots = list(film.story.shots())
    for (scene, told), pair in zip(shots[:shot], film.pairs[:shot], strict=True):
        bank.add(scene, told, np.asarray(models.codec.encode_stills(pair), np.float32))
    remembered = stack_memory([bank] * len(seeds), [bank.pack(*shots[shot])] * len(seeds))
    text = known_text(models.captions.tokenizer, story_texts(film.story, models.step2.recipe)[shot]) if caption else ""
    if not memory:
        remembered = jax.tree.map(np.asarray, no_memory(remembered))  # as the other, so that one program serves both
    latents = artist.draw([text] * len(seeds), remembered, seeds)
    frames = models.codec.decode_stills(latents.reshape(-1, *latents.shape[2:]))
    return frames.reshape(len(seeds), 2, *frames.shape[1:])


def known_text(tokenizer: WordTokenizer, text: str) -> str:
    """The words of a text that the model knows."""
    return " ".join(word for word in split_words(text) if not tokenizer.unknown([word]))


def pair_ways(tuned: Artist, shipped: Artist, film: FilmShots, shot: int, seeds: Sequence[int]) -> dict[str, Pairs]:
    """Pairs of a shot that nobody has trained on, by what they come from: the best that the VAE could do, the model with all it
    has and without, the model before it was fine-tuned, and copies."""
    earlier, true = film.earlier(shot), film.pairs[shot]
    return {
        "VAE of the true pair": still_reconstructions(tuned.models.codec, true)[None],
        "shipped VAE of the true pair": still_reconstructions(shipped.models.codec, true)[None],
        DRAWN: drawn_pairs(tuned, film, shot, seeds),
        "drawn, no memory": drawn_pairs(tuned, film, shot, seeds, memory=False),
        "drawn, memory, no caption": drawn_pairs(tuned, film, shot, seeds, caption=False),
        "drawn by the shipped model, memory": drawn_pairs(shipped, film, shot, seeds),
        "copy of the last frame": copied(earlier[-1]),
        "nearest earlier frame, by hindsight": nearest_frames(earlier, true),
        "mean picture of the shots before": copied(mean_picture(film.clips[:shot].reshape(-1, *true.shape[1:]))),
    }


def seen_ways(tuned: Artist, film: FilmShots, shot: int, seeds: Sequence[int]) -> dict[str, Pairs]:
    """Pairs of a shot that the model was trained on."""
    return {
        "VAE of the true pair": still_reconstructions(tuned.models.codec, film.pairs[shot])[None],
        DRAWN: drawn_pairs(tuned, film, shot, seeds),
        "drawn, no memory": drawn_pairs(tuned, film, shot, seeds, memory=False),
    }


def clip_ways(
    tuned: Artist, shipped: Artist, film: FilmShots, shot: int, drawn: UInt8[np.ndarray, "2 h w 3"], seeds: Sequence[int]
) -> dict[str, Clips]:
    """Clips of a shot, by what they come from: its true pair, and one pair that was drawn."""
    truth, caption = film.clips[shot], list(film.story.shots())[shot][1].description
    pair = Pair(truth[0], truth[-1])

    def filled(artist: Artist, pair: Pair) -> Clips:
        return artist.fill([pair] * len(seeds), [caption] * len(seeds), seeds)

    return {
        "VAE of the true clip": clip_reconstructions(tuned.models.codec, truth[None]),
        "shipped VAE of the true clip": clip_reconstructions(shipped.models.codec, truth[None]),
        "filler, true pair": filled(tuned, pair),
        "shipped filler, true pair": filled(shipped, pair),
        "cross-fade of the true pair": cross_fade(pair, len(truth))[None],
        "filler, drawn pair": filled(tuned, Pair(*drawn)),
    }


def copied(frame: UInt8[np.ndarray, "h w 3"]) -> Pairs:
    """One frame as both of a pair."""
    return np.stack([frame, frame])[None]


def mean_picture(frames: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "h w 3"]:
    return np.round(frames.mean(0)).astype(np.uint8)


def nearest_frames(frames: UInt8[np.ndarray, "earlier h w 3"], truth: UInt8[np.ndarray, "2 h w 3"]) -> Pairs:
    """For start and end the one of `frames` that has the highest PSNR: the copy of somebody who knows the answer."""
    return np.stack([frames[int(np.argmax(psnr(frames, np.stack([true] * len(frames)))))] for true in truth])[None]
