"""The first/last-frame filler on true pairs of held-out shots: how near its ends come to the given pictures, and how well the
frames between them move, beside a linear cross-fade of the same pair and its first frame standing still."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, UInt8

from data_pipeline.toy_cinema import probe, world
from stage_jax.errors import InputError
from stage_jax.evaluation.batches import row_batches
from stage_jax.evaluation.figures import Figure, mean_figure, ratio_figure
from stage_jax.evaluation.held_out import HeldOut, Progress, shot_seed
from stage_jax.evaluation.psnr import psnr
from stage_jax.evaluation.vae import clip_reconstructions, still_reconstructions
from stage_jax.generate.models import PictureCodec
from stage_jax.story.board import Pair

MOVES = 8.0  # pixels of a 64 x 64 picture that the actor has to go for its shot to count as moving
BATCH = 8
Filler = Callable[[Sequence[Pair], Sequence[str], Sequence[int]], UInt8[np.ndarray, "n frames h w 3"]]
ENDS = ("first", "last")
WAYS = ("filler", "cross-fade", "first frame repeated", "VAE of the true clip")


@dataclasses.dataclass(frozen=True, eq=False)
class Strip:
    """The clips of one shot, for people to look at."""

    name: str
    true: UInt8[np.ndarray, "frames h w 3"]
    filler: UInt8[np.ndarray, "frames h w 3"]
    fade: UInt8[np.ndarray, "frames h w 3"]


def cross_fade(pair: Pair, frames: int) -> UInt8[np.ndarray, "frames h w 3"]:
    """A clip that blends the start picture into the end picture, evenly in time."""
    start, end = pair.start.astype(np.float32), pair.end.astype(np.float32)
    share = np.linspace(0, 1, frames, dtype=np.float32)[:, None, None, None]
    return np.round(start + share * (end - start)).astype(np.uint8)


def moves(toy: world.ToyStory, shot: int) -> float:
    """Pixels between where the shot's actor starts and where it ends."""
    (start, *_), (end, *_) = (world.positions(toy.shots[shot], phase) for phase in (0.0, 1.0))
    return math.dist(start, end)


def position_errors(clip: UInt8[np.ndarray, "frames h w 3"], toy: world.ToyStory, shot: int) -> Float[np.ndarray, " inner"]:
    """Pixels between the actor's true place and the one that the probe reads, of every frame but the first and the last."""
    last, errors = len(clip) - 1, []
    for i in range(1, last):
        figure = probe.read_frame(clip[i], toy, shot, i / last).figures[0]
        errors.append(math.dist((figure.x, figure.y), world.positions(toy.shots[shot], i / last)[0]))
    return np.array(errors)


def filler_figures(
    filler: Filler,
    codec: PictureCodec,
    stories: Sequence[HeldOut],
    *,
    seed: int = 0,
    strips: int = 8,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> tuple[list[Figure], list[Strip]]:
    """All figures of the filler, and clips of the first `strips` shots. InputError on records without clips."""
    shots = [(held, i) for held in stories for i in range(len(held.shots))]
    if any(not held.clips.shape[1] for held in stories):
        raise InputError("filler: found records without clips, expected clips (`stage data toy --clips`)")
    clusters: list[int] = []
    ends: dict[str, list[np.ndarray]] = {"filler": [], "stills": [], "clip": []}
    motion: dict[str, list[float]] = {way: [] for way in WAYS}
    moving: list[int] = []
    shown: list[Strip] = []
    done = 0
    for rows, count in row_batches(len(shots), batch):
        chosen = [shots[row] for row in rows]
        truth = np.stack([held.clips[i] for held, i in chosen])
        pairs = [Pair(*held.pairs[i]) for held, i in chosen]
        seeds = [shot_seed(seed, held.index, i) for held, i in chosen]
        made = np.asarray(filler(pairs, [held.shots[i][1].description for held, i in chosen], seeds))
        copies = clip_reconstructions(codec, truth)
        given = np.stack([held.pairs[i] for held, i in chosen])
        stills = still_reconstructions(codec, given.reshape(-1, *given.shape[2:])).reshape(given.shape)
        ends["filler"] += _end_psnr(made[:, [0, -1]], given)[:count]
        ends["stills"] += _end_psnr(stills, given)[:count]
        ends["clip"] += _end_psnr(copies[:, [0, -1]], given)[:count]
        for row, (held, i) in enumerate(chosen[:count]):
            clusters.append(held.index)
            fade = cross_fade(pairs[row], made.shape[1])
            if len(shown) < strips:
                shown.append(Strip(f"story {held.index}, shot {i + 1}", truth[row], made[row], fade))
            if moves(held.toy, i) >= MOVES:
                moving.append(held.index)
                still = np.broadcast_to(fade[:1], fade.shape)
                for way, clip in zip(WAYS, (made[row], fade, still, copies[row]), strict=True):
                    motion[way].append(float(position_errors(clip, held.toy, i).mean()))
        done += count
        if progress:
            progress("filler", done, len(shots))
    return [*_end_figures(ends, clusters), *_motion_figures(motion, moving)], shown


def _end_psnr(frames: UInt8[np.ndarray, "n 2 h w 3"], given: UInt8[np.ndarray, "n 2 h w 3"]) -> list[np.ndarray]:
    """PSNR of the first and the last picture of each shot to the given ones, [2] each."""
    flat = (a.reshape(-1, *a.shape[2:]) for a in (frames, given))
    return list(psnr(*flat).reshape(-1, 2))


def _end_figures(ends: dict[str, list[np.ndarray]], clusters: list[int]) -> list[Figure]:
    figures = []
    for end, name in enumerate(ENDS):
        measure = f"{name} frame to the given picture"
        filler, stills, clip = (np.array([row[end] for row in ends[of]]) for of in ("filler", "stills", "clip"))
        for what, values in (
            ("filler", filler),
            ("VAE of the pair", stills),
            ("VAE of the true clip", clip),
            ("filler - VAE of the pair", filler - stills),
            ("filler - VAE of the true clip", filler - clip),
        ):
            figures.append(mean_figure("filler", measure, what, "dB", values, clusters))
    return figures


def _motion_figures(motion: dict[str, list[float]], moving: list[int]) -> list[Figure]:
    if not moving:
        return []
    measure = "position error of inner frames"
    figures = [mean_figure("filler", measure, way, "px", motion[way], moving) for way in WAYS]
    made, *others = (np.array(motion[way]) for way in WAYS[:3])
    ratios = zip(("cross-fade", "first frame"), others, strict=True)
    return [*figures, *(ratio_figure("filler", measure, f"filler / {way}", made, o, np.array(moving)) for way, o in ratios)]
