"""CLIP's image tokens of a data set's clips, computed once: what Wan2.1's image models read beside the caption.

    DIR/latents/<split>-image/index.json     hash of CLIP, stories
    DIR/latents/<split>-image/tokens.npy     float16 [shots, 2, M, E], of the first and the last picture of every clip
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from data_pipeline.cache import ImageTokens, open_cache, told_stories
from data_pipeline.records import RecordSource, open_records
from stage_jax.errors import InputError
from stage_jax.models.clip import CLIP
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.weights.folder import part_hash
from stage_jax.weights.pipeline import our_part

Progress = Callable[[int, int], None]


def open_image_tokens(records_dir: Path, split: str, model: Path, *, progress: Progress | None = None) -> ImageTokens:
    """The image tokens of all shots of a split under the CLIP of `model`; made if missing. InputError if the cache that is
    there was made by other weights, or if the records hold no clips."""
    folder = records_dir / "latents" / f"{split}-image"
    records = open_records(records_dir, split, ("story", "clips", "shots"))
    made_by = {"clip": part_hash(model, "clip")}
    index = open_cache(folder, made_by, lambda building: _build(building, records, model, progress))
    told_stories(folder, index, len(records))
    return ImageTokens(np.load(folder / "tokens.npy", mmap_mode="r"))


def _build(folder: Path, records: RecordSource, model: Path, progress: Progress | None) -> dict[str, Any]:
    stored = our_part(model, "clip")
    config = dataclasses.replace(stored.config, text=None, projection=None)
    clip = nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0)))
    params = stored.params(flat_params(clip), partial=True)
    look = jax.jit(lambda params, pictures: with_params(clip, params).vision(clip_pictures(pictures, config.picture)))
    stories, tokens = [], []
    for i, record in enumerate(records):
        stories.append(json.loads(record["story"]))
        if not len(record["clips"]):
            raise InputError(f"{records.directory}: found no clips, expected some to train a video model on")
        for clip_ in np.split(record["clips"], record["shots"]):
            ends = clip_[[0, -1]].astype(np.float32) / 127.5 - 1
            tokens.append(np.asarray(look(params, ends), np.float16))
        if progress:
            progress(i + 1, len(records))
    np.save(folder / "tokens.npy", np.stack(tokens))
    return {"stories": stories}
