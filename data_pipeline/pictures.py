"""CLIP's view of a data set's pairs, computed once: for recipes that rank memory by it, or that show STEP2 its tokens.

    DIR/latents/<split>-clip-pictures/index.json, frames.npy              float16 [shots, 2, D]
    DIR/latents/<split>-clip-texts/index.json, texts.npy                  float16 [shots, D]
    DIR/latents/<split>-clip-tokens/index.json, tokens.npy                float16 [shots, M, E], of the end frames
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from data_pipeline.cache import Pictures, open_cache, told_stories
from data_pipeline.records import RecordSource, open_records
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import clip_pictures
from stage_jax.models.clip_tokenizer import CLIPTokenizer
from stage_jax.models.stacking import stack_params, with_params
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.story.types import story_from_json
from stage_jax.weights.folder import part_hash, read_part

Progress = Callable[[int, int], None]
BATCH = 32  # pictures or texts at once
Encode = Callable[[np.ndarray], Array]


def open_pictures(
    records_dir: Path, split: str, model: Path, recipe: STEP2Config, *, progress: Progress | None = None
) -> Pictures | None:
    """What a recipe asks of CLIP (part `clip` of `model`), made if missing; None if it asks for nothing. InputError if what is
    there was made by other weights."""
    wanted = {
        "frames": recipe.ranking in ("clip_text", "clip_image"),
        "texts": recipe.ranking == "clip_text",
        "tokens": recipe.image_tokens,
    }
    if not any(wanted.values()):
        return None
    records, made_by = open_records(records_dir, split), {"clip": part_hash(model, "clip")}
    arrays = {}
    for what, asked in wanted.items():
        if not asked:
            continue
        folder = records_dir / "latents" / f"{split}-clip-{'pictures' if what == 'frames' else what}"

        def build(building: Path, what: str = what) -> Mapping[str, Any]:
            return _build(building, records, what, model, progress)

        told_stories(folder, open_cache(folder, made_by, build), len(records))
        arrays[what] = np.load(folder / f"{what}.npy", mmap_mode="r")
    return Pictures(**arrays)


def _build(folder: Path, records: RecordSource, what: str, model: Path, progress: Progress | None) -> dict[str, Any]:
    config, params = read_part(model, "clip", CLIPConfig)
    params = stack_params(params) if config.scan_layers else params
    clip = nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0)))
    stories: list[dict[str, Any]] = []
    found: list[np.ndarray] = []
    if what == "texts":
        tokenizer = CLIPTokenizer.load(model / "clip_tokenizer")
        read = jax.jit(lambda ids: with_params(clip, params).text(ids))
    else:
        see = {"frames": lambda tower, x: tower.embed(x), "tokens": lambda tower, x: tower(x)}[what]
        look = jax.jit(lambda pixels: see(with_params(clip, params).vision, clip_pictures(pixels, config.picture)))
    for i, record in enumerate(records):
        stories.append(json.loads(record["story"]))
        if what == "texts":
            shots = [shot.description for _, shot in story_from_json(stories[-1], records.directory).shots()]
            found.append(_mapped(read, tokenizer.encode(shots)))
        else:
            length = len(record["frames"]) // record["shots"]
            pairs = record["frames"].reshape(record["shots"], length, *record["frames"].shape[1:])[:, :2]
            frames = pairs.reshape(-1, *pairs.shape[2:]) if what == "frames" else pairs[:, 1]
            rows = _mapped(look, frames.astype(np.float32) / 127.5 - 1)
            found.append(rows.reshape(record["shots"], 2, -1) if what == "frames" else rows)
        if progress:
            progress(i + 1, len(records))
    np.save(folder / f"{what}.npy", np.concatenate(found))
    return {"stories": stories}


def _mapped(encode: Encode, rows: Float[np.ndarray, "n *rest"] | np.ndarray) -> Float[np.ndarray, "n *out"]:
    """`encode` over all rows in batches of one size, the last one filled up with its first row."""
    parts = []
    for first in range(0, len(rows), BATCH):
        part = rows[first : first + BATCH]
        filled = np.concatenate([part, np.repeat(part[:1], BATCH - len(part), axis=0)])
        parts.append(np.asarray(encode(filled), np.float16)[: len(part)])
    return np.concatenate(parts)
