"""Latents of a data set's pictures, computed once: what STEP2 and the filler train on.

A cache names the VAE weights that made it; a reader refuses a cache made by others. It lies beside the records:

    DIR/latents/<split>-<kind>/index.json     stories, first shot of each, VAE hash
    DIR/latents/<split>-<kind>/latents.npy    float16: pairs [shots, 2, C, h, w]; clips [shots, 2, C, t, h, w]

A clip's two entries are the clip itself and its condition, [first, grey ..., last], as `recipes.wan` builds it.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float, Float16

from data_pipeline.records import RecordSource, open_records
from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.stacking import with_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.story.types import Story, story_from_json
from stage_jax.weights.folder import part_hash, read_part

Kind = Literal["pairs", "clips"]
Progress = Callable[[int, int], None]
FRAMES = 68  # encoded at once: 68 stills or 4 clips; larger batches leave the processor's caches


@dataclasses.dataclass(frozen=True, eq=False)
class Latents:
    """An opened cache. stories: in record order. first_shot: where each story's shots begin in `latents`."""

    stories: tuple[Story, ...]
    first_shot: tuple[int, ...]
    latents: Float16[np.ndarray, "shots 2 *rest"]


def open_latents(
    records_dir: Path, split: str, kind: Kind, model: Path, *, stories: int | None = None, progress: Progress | None = None
) -> Latents:
    """The latents of the first `stories` stories of a split (all by default) under the VAE of `model`; made if missing.

    InputError if the cache that is there was made by other weights."""
    folder = records_dir / "latents" / f"{split}-{kind}"
    records = open_records(records_dir, split)
    count = len(records) if stories is None else min(stories, len(records))
    if not folder.exists():
        with files.atomic_folder(folder) as building:
            _build(building, records, count, kind, model, progress)
    index = json.loads((folder / "index.json").read_text())
    if index["vae"] != part_hash(model, "vae"):
        raise InputError(f"{folder}: made by another VAE ({index['vae'][:12]}) than {model}'s; remove it to make it anew")
    if len(index["stories"]) != count:
        raise InputError(f"{folder}: holds {len(index['stories'])} stories, expected {count}; remove it to make it anew")
    where = str(folder / "index.json")
    told = tuple(story_from_json(story, where) for story in index["stories"])
    return Latents(told, tuple(index["first_shot"]), np.load(folder / "latents.npy", mmap_mode="r"))


def _build(
    folder: Path, records: RecordSource, count: int, kind: Kind, model: Path, progress: Progress | None
) -> None:
    config, params = read_part(model, "vae", VAEConfig)
    vae = nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))
    encode = jax.jit(lambda params, video: with_params(vae, params).encode(video))
    index: dict = {"vae": part_hash(model, "vae"), "stories": [], "first_shot": []}

    def pictures() -> Iterator[np.ndarray]:
        shots = 0
        for i in range(count):
            record = records[i]
            index["stories"].append(json.loads(record["story"]))
            index["first_shot"].append(shots)
            shots += record["shots"]
            yield from _inputs(record, kind)
            if progress:
                progress(i + 1, count)

    def encode_pixels(video: np.ndarray) -> jax.Array:
        # On the host, where grey is exactly 0, as the recipe has it: compiled, it is some 1e-8, which a norm can blow up.
        return encode(params, video.astype(np.float32) / 127.5 - 1)

    latents = [np.asarray(z[:n], np.float16) for z, n in _batched(pictures(), encode_pixels)]
    joined = np.concatenate(latents)
    joined = joined[:, :, 0] if kind == "pairs" else joined
    np.save(folder / "latents.npy", joined.reshape(-1, 2, *joined.shape[1:]))
    (folder / "index.json").write_text(json.dumps(index))


def _inputs(record: dict, kind: Kind) -> Iterator[np.ndarray]:
    """What is encoded for each shot: its two frames as stills, or its clip and the clip's condition."""
    for shot in range(record["shots"]):
        if kind == "pairs":
            start = shot * (len(record["frames"]) // record["shots"])
            yield record["frames"][start : start + 1]
            yield record["frames"][start + 1 : start + 2]
        else:
            length = len(record["clips"]) // record["shots"]
            if not length:
                raise InputError("these records hold no clips; make them with clips to train a filler")
            clip = record["clips"][shot * length : (shot + 1) * length]
            grey = np.full_like(clip, 127.5, dtype=np.float32)
            grey[0], grey[-1] = clip[0], clip[-1]
            yield clip.astype(np.float32)
            yield grey


def _batched(videos: Iterator[np.ndarray], encode: Callable) -> Iterator[tuple[Float[jax.Array, "b c t h w"], int]]:
    """Latents of full batches, the last one filled up, with how many of it count."""
    waiting: list[np.ndarray] = []
    for video in videos:
        waiting.append(video)
        if len(waiting) == max(1, FRAMES // len(video)):
            yield encode(np.stack(waiting)), len(waiting)
            waiting = []
    if waiting:
        filled = waiting + [waiting[-1]] * (max(1, FRAMES // len(waiting[0])) - len(waiting))
        yield encode(np.stack(filled)), len(waiting)
