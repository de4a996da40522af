"""How near the VAE's reconstructions come: stills alone, clips, and of clips the first frame and the later ones apart; and what
the probe reads of the stills.

All means are over pictures, of each picture's own PSNR: a mean of squared errors first would let dull pictures hide bad ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from data_pipeline.toy_cinema import world
from stage_jax.evaluation.batches import mapped
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.held_out import HeldOut, Progress, figures_mask
from stage_jax.evaluation.levels import level_of
from stage_jax.evaluation.psnr import psnr
from stage_jax.generate.models import PictureCodec

STILLS, CLIPS = 32, 8  # in a batch


def vae_figures(codec: PictureCodec, stories: Sequence[HeldOut], progress: Progress | None = None) -> list[Figure]:
    """PSNR of stills, of the first frames of clips and of their later frames; of each also figures and background apart. Of
    start and end frames also the share of what memory has to hold that the probe reads right, in every appearance."""
    readings: dict[str, list[tuple[int, float]]] = {}
    measures: dict[str, list[tuple[int, float, float, float]]] = {"stills": [], "clips, frame 0": [], "clips, later frames": []}
    for done, held in enumerate(stories, 1):
        shots, kept, size = held.stills.shape[:3]
        masks = [figures_mask(held.toy, s, phase, size) for s in range(shots) for phase in held.phases(s)]
        truth = held.stills.reshape(shots * kept, *held.stills.shape[2:])
        copies = still_reconstructions(codec, truth)
        _note(measures["stills"], held.index, copies, truth, np.stack(masks))
        level = level_of(held.toy)
        for outcome in level.outcomes(held.toy, copies.reshape(held.stills.shape)[:, :2]):
            if outcome.attribute in level.remembered:
                readings.setdefault(outcome.attribute, []).append((held.index, 1 - outcome.error))
        if held.clips.shape[1]:
            phases = np.linspace(0, 1, world.FRAMES)
            masks = np.stack([[figures_mask(held.toy, s, float(p), size) for p in phases] for s in range(shots)])
            copies = clip_reconstructions(codec, held.clips)
            for name, part in (("clips, frame 0", slice(0, 1)), ("clips, later frames", slice(1, None))):
                pictures, true, where = (a[:, part].reshape(-1, *a.shape[2:]) for a in (copies, held.clips, masks))
                _note(measures[name], held.index, pictures, true, where)
        if progress:
            progress("vae", done, len(stories))
    read = [
        mean_figure("vae", "stills, read by the probe", what, "share", [right for _, right in rows], [row[0] for row in rows])
        for what, rows in readings.items()
    ]
    return read + [
        mean_figure("vae", measure, what, "dB", [row[column] for row in rows], [row[0] for row in rows])
        for measure, rows in measures.items()
        if rows
        for column, what in enumerate(("PSNR", "PSNR of figures", "PSNR of background"), 1)
    ]


def _note(rows: list, story: int, pictures: np.ndarray, truth: np.ndarray, figures: np.ndarray) -> None:
    columns = (psnr(pictures, truth), psnr(pictures, truth, figures), psnr(pictures, truth, ~figures))
    rows += [(story, *map(float, values)) for values in zip(*columns, strict=True)]


def still_reconstructions(codec: PictureCodec, pictures: UInt8[np.ndarray, "n h w 3"]) -> UInt8[np.ndarray, "n h w 3"]:
    """Each picture encoded alone, and decoded."""
    return mapped(lambda rows: codec.decode_stills(codec.encode_stills(pictures[rows])), len(pictures), STILLS)


def clip_reconstructions(
    codec: PictureCodec, clips: UInt8[np.ndarray, "n frames h w 3"]
) -> UInt8[np.ndarray, "n frames h w 3"]:
    return mapped(lambda rows: codec.decode_clips(codec.encode_clips(clips[rows])), len(clips), CLIPS)
