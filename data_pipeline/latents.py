"""Latents of a data set's pictures, computed once: what STEP2, the filler and their relatives train on.

    DIR/latents/<split>-<kind>/index.json     stories, first shot of each, VAE hash
    DIR/latents/<split>-<kind>/latents.npy    float16 [entries, n, C, (t,) h, w]

| kind | entries | n |
| --- | --- | --- |
| pairs | shots | start and end frame |
| interior | shots | the interior frames, in order of time: what DPO's negatives are drawn from |
| rejected | preferences | start and end frame of the pair that is rejected |
| references | reference pictures | the picture |
| clips | shots | the clip and its condition, [first, grey ..., last], as `recipes.wan` builds it |
| first | shots | the condition of image to video, [first, grey ...] |
| altered | shots | the clip, altered as OneStory's shot inflation does it (`triplets.altered`) |
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import nnx
from jaxtyping import Float

from data_pipeline.cache import Latents, open_cache, told_stories
from data_pipeline.records import RecordSource, open_records
from data_pipeline.triplets import altered
from stage_jax.errors import InputError
from stage_jax.models.stacking import with_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.weights.folder import part_hash, read_part

Kind = Literal["pairs", "interior", "rejected", "references", "clips", "first", "altered"]
Progress = Callable[[int, int], None]
FRAMES = 68  # encoded at once: 68 stills or 4 clips; larger batches leave the processor's caches
OF = {"rejected": "shot_rows", "references": "characters"}  # what the entries of a kind are of, if not shots, in the index
STILLS = ("pairs", "interior", "rejected", "references")


def open_latents(
    records_dir: Path, split: str, kind: Kind, model: Path, *, stories: int | None = None, progress: Progress | None = None
) -> Latents:
    """The latents of the first `stories` stories of a split (all by default) under the VAE of `model`; made if missing.

    InputError if the cache that is there was made by other weights, or if the records have no such pictures."""
    folder = records_dir / "latents" / f"{split}-{kind}"
    records = open_records(records_dir, split)
    count = len(records) if stories is None else min(stories, len(records))
    made_by = {"vae": part_hash(model, "vae")}
    index = open_cache(folder, made_by, lambda building: _build(building, records, count, kind, model, progress))
    told = told_stories(folder, index, count)
    of = (tuple(index.get(name, ())) for name in OF.values())
    return Latents(told, tuple(index["first_shot"]), np.load(folder / "latents.npy", mmap_mode="r"), *of)


def _build(
    folder: Path, records: RecordSource, count: int, kind: Kind, model: Path, progress: Progress | None
) -> dict[str, Any]:
    config, params = read_part(model, "vae", VAEConfig)
    vae = nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))
    encode = jax.jit(lambda params, video: with_params(vae, params).encode(video))
    index: dict = {"stories": [], "first_shot": []} | ({OF[kind]: []} if kind in OF else {})
    shots = characters = videos = 0

    def pictures() -> Iterator[np.ndarray]:
        nonlocal shots, characters, videos
        for i in range(count):
            record = records[i]
            index["stories"].append(json.loads(record["story"]))
            index["first_shot"].append(shots)
            cast = len(index["stories"][-1].get("characters", ()))
            if kind == "rejected":
                index["shot_rows"] += [shots + preference["shot"] for preference in json.loads(record["preferences"])]
            if kind == "references":
                index["characters"] += [characters + i for i in range(cast) for _ in range(len(record["references"]) // cast)]
            for video in _inputs(record, kind, shots):
                videos += 1
                yield video
            shots, characters = shots + record["shots"], characters + cast
            if progress:
                progress(i + 1, count)

    def encode_pixels(video: np.ndarray) -> jax.Array:
        # On the host, where grey is exactly 0, as the recipe has it: compiled, it is some 1e-8, which a norm can blow up.
        return encode(params, video.astype(np.float32) / 127.5 - 1)

    latents = [np.asarray(z[:n], np.float16) for z, n in _batched(pictures(), encode_pixels)]
    if not latents:
        raise InputError(f"{records.directory}: found no {kind} pictures in split {records.split!r}, expected some")
    joined = np.concatenate(latents)
    joined = joined[:, :, 0] if kind in STILLS else joined
    entries = len(index[OF[kind]]) if kind in OF else shots
    np.save(folder / "latents.npy", joined.reshape(entries, videos // entries, *joined.shape[1:]))
    return index


def _inputs(record: dict, kind: Kind, row: int) -> Iterator[np.ndarray]:
    """What is encoded of a story, each a still or a clip. row: of its first shot among all shots."""
    if kind in OF:
        yield from record[kind][:, None]
        return
    for shot in range(record["shots"]):
        if kind in STILLS:
            length = len(record["frames"]) // record["shots"]
            frames = record["frames"][shot * length : (shot + 1) * length, None]
            yield from frames[:2] if kind == "pairs" else frames[2:]
            continue
        length = len(record["clips"]) // record["shots"]
        if not length:
            raise InputError("these records hold no clips; make them with clips to train a filler")
        clip = record["clips"][shot * length : (shot + 1) * length]
        if kind == "altered":
            yield altered(clip, np.random.default_rng(row + shot)).astype(np.float32)
            continue
        grey = np.full_like(clip, 127.5, dtype=np.float32)
        grey[0] = clip[0]
        if kind == "clips":
            grey[-1] = clip[-1]
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
