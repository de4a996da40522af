"""The board loop: shot by shot, look at what was drawn before, and draw the next pair."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from stage_jax.errors import InputError
from stage_jax.generate.bank import Bank
from stage_jax.generate.easel import Easel, Request
from stage_jax.generate.edits import Edits
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import PairSampler
from stage_jax.models.piece_tokenizer import Tokenizer
from stage_jax.recipes.step2_config import CLIP_RANKINGS
from stage_jax.recipes.step2_text import story_texts
from stage_jax.story.board import Board, BoardShot, Pair
from stage_jax.story.pictures import fit_picture
from stage_jax.story.tables import listed_once
from stage_jax.story.types import Shot, Story

Progress = Callable[[int, int], None]


def draw_board(
    models: Models,
    story: Story,
    seed: int,
    *,
    sampler: PairSampler,
    progress: Progress | None = None,
    edits: Edits | None = None,
) -> Board:
    """All pairs of a story by STEP2. The seed of a shot comes from `seed` and its place in the story, or is its own.
    edits: what of it is given, kept, found, or drawn several times."""
    recipe, clip, edits = models.step2.recipe, models.clip, edits or Edits()
    bank, easel = Bank(story, models.latent_shape(), recipe), Easel(models, sampler, edits)
    texts, shots = story_texts(story, recipe), []
    tokens = clip.no_tokens()[None] if recipe.image_tokens else None
    references = tuple(edits.references) if bank.sizes else ()
    for reference in references:  # each alone, so that its latent is the same whatever others there are
        picture = reference.picture[None]
        seen = clip.frames(picture) if recipe.ranking in CLIP_RANKINGS else None
        bank.add_reference(reference, easel.latents(picture), seen)
    for index, (scene, shot) in enumerate(story.shots()):
        name, shot_seed = story.shot_name(scene, shot), seed_of(seed, index, shot)
        query = clip.texts([shot.description])[0] if recipe.ranking == "clip_text" else None
        chosen = bank.pack(scene, shot, query)
        before = shots[-1].pair.end if shots and not shot.cut else None
        drawn = easel.draw(Request(name, texts[index], shot_seed, bank, chosen, tokens, before))
        shots.append(BoardShot(name, scene, shot, texts[index], pair=drawn.pair, **drawn.about))
        pictures = np.stack([drawn.pair.start, drawn.pair.end])
        bank.add(scene, shot, drawn.latents, clip.frames(pictures) if recipe.ranking in CLIP_RANKINGS else None)
        tokens = clip.tokens(pictures[1:]) if recipe.image_tokens else None
        if progress:
            progress(index + 1, len(texts))
    return Board(story, tuple(shots), story.fps, references)


def given_board(
    story: Story, pairs: Mapping[str, Pair], seed: int, size: tuple[int, int], kept: Mapping[str, Pair] | None = None
) -> Board:
    """A board of given pairs, brought to the models' size. kept: pairs that stand in place of given ones."""
    shots = []
    for index, (scene, shot) in enumerate(story.shots()):
        name = story.shot_name(scene, shot)
        about = (name, scene, shot, shot.description, seed_of(seed, index, shot))
        if kept and name in kept:
            shots.append(BoardShot(*about, kept[name], (), "kept"))
        else:
            pair = Pair(fit_picture(pairs[name].start, size), fit_picture(pairs[name].end, size))
            shots.append(BoardShot(*about, pair, (), "given"))
    return Board(story, tuple(shots), story.fps)


def seed_of(seed: int, index: int, shot: Shot) -> int:
    """The seed of a shot: its own, or one drawn from the film's seed and its place."""
    if shot.seed is not None:
        return shot.seed
    return int(np.random.SeedSequence([seed, index]).generate_state(1)[0])


def check_words(models: Models, story: Story, where: str) -> None:
    """InputError that names all words of the story's shots that the text encoder does not know, with near ones, or else all
    shots whose captions are too long for it."""
    tokenizer = models.captions.tokenizer
    names = [story.shot_name(scene, shot) for scene, shot in story.shots()]
    captions = dict(zip(names, story_texts(story, models.step2.recipe), strict=True))
    if unknown := tokenizer.unknown(captions.values()):
        raise InputError(f"{where}: {describe_unknown(unknown)}")
    if too_long := describe_too_long(tokenizer, captions):
        raise InputError(f"{where}: {too_long}")


def describe_unknown(unknown: Mapping[str, list[str]]) -> str:
    """Unknown words, each with the near ones that the model knows."""
    words = "; ".join(f"{word} (near: {', '.join(near)})" if near else word for word, near in unknown.items())
    return f"words that the tiny model does not know: {words}"


def describe_too_long(tokenizer: Tokenizer, captions: Mapping[str, str]) -> str:
    """Shots, out of captions by their names, that say more than the model reads, each with its count of words and marks; empty
    if there are none."""
    counts = {name: tokenizer.count(caption) for name, caption in captions.items()}
    named = [f"{name} ({count})" for name, count in counts.items() if count > tokenizer.longest]
    longest = f"the {tokenizer.longest} words and marks that the model reads"
    return f"captions longer than {longest}: {listed_once(named)}" if named else ""
