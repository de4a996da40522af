"""Embedded captions of a data set, computed once by a frozen text encoder.

    DIR/latents/<split>-text/index.json                     hashes of text encoder and tokenizer, stories
    DIR/latents/<split>-text/embeddings.npy, mask.npy       float16 [captions, L, D], int32 [captions, L]
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from data_pipeline.cache import Texts, open_cache, told_stories
from data_pipeline.records import RecordSource, open_records
from stage_jax.models.piece_tokenizer import FILES, Tokenizer, load_tokenizer
from stage_jax.models.stacking import stack_params, with_params
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.recipes.step2_text import story_texts
from stage_jax.story.types import story_from_json
from stage_jax.weights.folder import part_hash, read_part
from stage_jax.weights.shards import file_sha256

Progress = Callable[[int, int], None]
CAPTIONS = 64  # embedded at once
ADDED = ("attributes", "timing", "previous_text")  # what a recipe adds to them, and the cache's name says


def open_texts(
    records_dir: Path, split: str, model: Path, *, recipe: STEP2Config = TINY, progress: Progress | None = None
) -> Texts:
    """The captions of all shots of a split, in story order, and last the empty one, under the text encoder of `model`; made
    if missing. recipe: what is added to the descriptions; such a cache is called `<split>-text-attributes-timing` and so on.
    InputError if the cache that is there was made by other weights or another tokenizer."""
    folder = records_dir / "latents" / "-".join([split, "text", *(name for name in ADDED if getattr(recipe, name))])
    records = open_records(records_dir, split, ("story",))
    tokenizer = load_tokenizer(model / "tokenizer")
    read = next(path for name in FILES if (path := model / "tokenizer" / name).is_file())
    made_by = {"umt5": part_hash(model, "umt5"), "tokenizer": file_sha256(read)}
    index = open_cache(folder, made_by, lambda building: _build(building, records, tokenizer, model, recipe, progress))
    told_stories(folder, index, len(records))
    return Texts(*(np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("embeddings", "mask")))


def captions_of(stories: Iterable[Any], where: str, recipe: STEP2Config = TINY) -> list[str]:
    """What is read of every shot, in story order. stories: JSON values, those of the records in the folder `where`."""
    return [text for story in stories for text in story_texts(story_from_json(story, where), recipe)]


def _build(
    folder: Path,
    records: RecordSource,
    tokenizer: Tokenizer,
    model: Path,
    recipe: STEP2Config,
    progress: Progress | None,
) -> dict[str, Any]:
    config, params = read_part(model, "umt5", UMT5Config)
    params = stack_params(params) if config.scan_layers else params
    encoder = nnx.eval_shape(lambda: UMT5Encoder(config, nnx.Rngs(0)))
    embed = jax.jit(lambda params, ids, mask: zero_padding(with_params(encoder, params)(ids, mask), mask))
    stories = [json.loads(record["story"]) for record in records]
    captions = captions_of(stories, records.directory, recipe)
    ids, mask = tokenizer.encode([*captions, ""])
    # Straight to disk: of umT5-XXL a caption has 4 MiB.
    shape = (*ids.shape, config.dim)
    embeddings = np.lib.format.open_memmap(folder / "embeddings.npy", mode="w+", dtype=np.float16, shape=shape)
    for first in range(0, len(ids), CAPTIONS):
        rows = slice(first, first + CAPTIONS)
        filled = [np.resize(part[rows], (CAPTIONS, ids.shape[1])) for part in (ids, mask)]
        embeddings[rows] = np.asarray(embed(params, *filled))[: len(ids[rows])]
        if progress:
            progress(min(first + CAPTIONS, len(ids)), len(ids))
    embeddings.flush()
    np.save(folder / "mask.npy", mask)
    return {"stories": stories}
