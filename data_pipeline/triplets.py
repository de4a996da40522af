"""Three shots for OneStory: two to look back on and the one to make; what is missing is put in ("shot inflation", eq. 9).

OneStory (arXiv 2512.07802) turns a video of two shots into three: a synthetic shot stands before or after the real one, either
a shot of another video or an altered copy of the first. The paper gives no shares; ours stand in `Inflation`.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import SupportsIndex

import grain
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from data_pipeline.cache import Latents
from data_pipeline.loader import Examples
from data_pipeline.shots import Batch, ShotSource

REAL, COPY, OTHER = 0, 1, 2
"""What a shot that is looked back on is: a real one, an altered copy (the selector's label is 0), of another story (-1)."""
LEAST_BOX = 0.7  # side of the part that a copy shows, of the whole picture's


@dataclasses.dataclass(frozen=True)
class Inflation:
    """Shares, our choice. real: triplets of three real shots, where a story has them. other: shots of another story among the
    synthetic ones, else altered copies. before: synthetic shots that stand before the real one."""

    real: float = 0.2
    other: float = 0.5
    before: float = 0.5


class SecondShots:
    """The shots of a source that have a shot before them: (index of the story, index in the story)."""

    def __init__(self, source: ShotSource):
        self.where = [(story, shot) for story, shot in source.where if shot > 0]

    def __len__(self) -> int:
        return len(self.where)

    def __getitem__(self, index: SupportsIndex) -> tuple[int, int]:
        return self.where[index]


def triplet_examples(
    source: ShotSource, copies: Latents, inflation: Inflation, caption_dropout: float, seed: int
) -> grain.MapDataset:
    """context [2, C, t, h, w], kinds [2] (REAL, COPY or OTHER), target [C, t, h, w], ids and mask [L] of the target's caption.

    source: of clips. copies: the latents of kind `altered` of the same records."""
    pick = functools.partial(_triplet, source, copies, inflation, caption_dropout)
    return Examples(SecondShots(source), seed, pick)


def _triplet(
    source: ShotSource,
    copies: Latents,
    inflation: Inflation,
    caption_dropout: float,
    where: tuple[int, int],
    rng: np.random.Generator,
) -> Batch:
    story, shot = where
    row = source.cache.first_shot[story] + shot
    caption = source.caption(story, shot, rng.random() < caption_dropout)
    if shot > 1 and rng.random() < inflation.real:
        context, kinds = [_clip(source, row - 2), _clip(source, row - 1)], [REAL, REAL]
    else:
        if len(source.shots) > 1 and rng.random() < inflation.other:
            synthetic, kind = _clip(source, _elsewhere(source, story, rng)), OTHER
        else:
            synthetic, kind = copies.latents[row - 1, 0], COPY
        context, kinds = [_clip(source, row - 1), synthetic], [REAL, kind]
        if rng.random() < inflation.before:
            context, kinds = context[::-1], kinds[::-1]
    return {
        "context": np.stack(context).astype(np.float32), "kinds": np.array(kinds, np.int32),
        "target": _clip(source, row).astype(np.float32), **caption,
    }  # fmt: skip


def _clip(source: ShotSource, row: int) -> np.ndarray:
    return source.cache.latents[row, 0]


def _elsewhere(source: ShotSource, story: int, rng: np.random.Generator) -> int:
    """The row of a random shot of another story."""
    first = source.cache.first_shot[story]
    length = len(source.shots[story])
    row = int(rng.integers(len(source) - length))
    return row if row < first else row + length


def altered(clip: UInt8[np.ndarray, "t h w 3"], rng: np.random.Generator) -> UInt8[np.ndarray, "t h w 3"]:
    """A copy of a clip, in space (mirrored, and a part of it enlarged) or in colour (gain and offset of each channel)."""
    if rng.random() < 0.5:
        gain, offset = rng.uniform(0.6, 1.4, 3), rng.uniform(-40, 40, 3)
        return (clip * gain + offset).clip(0, 255).astype(np.uint8)
    height, width = clip.shape[1:3]
    box_h, box_w = (side * rng.uniform(LEAST_BOX, 0.95) for side in (height, width))
    top, left = rng.uniform(0, height - box_h), rng.uniform(0, width - box_w)
    box = (left, top, left + box_w, top + box_h)
    enlarged = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC, box=box) for frame in clip]
    return np.ascontiguousarray(np.stack([np.asarray(frame) for frame in enlarged])[:, :, ::-1])
