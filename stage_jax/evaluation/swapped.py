"""Whom a first/last-frame filler shows that is given the pair of another shot than its caption tells of: a model that was made
of a text-to-video model has to have learned to believe its pictures."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from data_pipeline.toy_cinema import probe
from stage_jax.errors import InputError
from stage_jax.evaluation.batches import row_batches
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.filler import BATCH, Filler
from stage_jax.evaluation.held_out import HeldOut, Progress, shot_seed
from stage_jax.evaluation.vae import clip_reconstructions
from stage_jax.generate.models import PictureCodec
from stage_jax.story.board import Pair


def swapped_figure(
    filler: Filler,
    codec: PictureCodec,
    stories: Sequence[HeldOut],
    *,
    seed: int = 0,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> Figure:
    """Share of inner frames in which the probe reads the acting figure of the given pair, its shape, colour and hat: captions
    of each story's shots, pairs of the next story's. Ceiling: the same of the VAE's reconstruction of the pair's true clip.
    InputError on records without clips, and on fewer than two stories."""
    if len(stories) < 2 or any(not held.clips.shape[1] for held in stories):
        raise InputError("swapped pairs: expected two or more stories, with clips (`stage data toy --clips`)")
    shots = [
        (held, i, other, i % len(other.shots))
        for held, other in zip(stories, (*stories[1:], stories[0]), strict=True)
        for i in range(len(held.shots))
    ]
    right: dict[str, list[float]] = {"filler": [], "VAE": []}
    clusters: list[int] = []
    for done, (rows, count) in enumerate(row_batches(len(shots), batch), 1):
        chosen = [shots[row] for row in rows]
        pairs = [Pair(*other.pairs[j]) for _, _, other, j in chosen]
        captions = [held.shots[i][1].description for held, i, _, _ in chosen]
        made = np.asarray(filler(pairs, captions, [shot_seed(seed, held.index, i) for held, i, _, _ in chosen]))
        copies = clip_reconstructions(codec, np.stack([other.clips[j] for _, _, other, j in chosen]))
        for row, (held, _, other, j) in enumerate(chosen[:count]):
            found = {"filler": _identified(made[row], other, j), "VAE": _identified(copies[row], other, j)}
            clusters += [held.index] * len(found["filler"])
            for what, values in found.items():
                right[what] += values
        if progress:
            progress("swapped pairs", min(done * batch, len(shots)), len(shots))
    ceiling = float(np.mean(right["VAE"]))
    return mean_figure("filler", "another shot's pair", "its identity", "share", right["filler"], clusters, ceiling=ceiling)


def _identified(clip: UInt8[np.ndarray, "frames h w 3"], held: HeldOut, shot: int) -> list[float]:
    """Of every inner frame whether it shows the shot's acting figure."""
    last = len(clip) - 1
    actor = held.toy.characters[held.toy.shots[shot].characters[0]]
    readings = (probe.read_frame(clip[i], held.toy, shot, i / last).figures[0] for i in range(1, last))
    return [float((r.shape, r.colour, r.hat) == (actor.shape, actor.colour, actor.hat)) for r in readings]
