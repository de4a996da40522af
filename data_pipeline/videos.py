"""Training examples for Wan's own tasks, from caches: a clip's latent with all that its velocity depends on."""

from __future__ import annotations

import dataclasses
import functools
from typing import SupportsIndex

import grain
import numpy as np

from data_pipeline.cache import ImageTokens, Latents, Texts
from data_pipeline.loader import Examples
from data_pipeline.shots import Batch


@dataclasses.dataclass(frozen=True, eq=False)
class VideoSource:
    """Random access to every shot of a cache, as Grain wants it: its row.

    clips: latents of kind `clips`. captions: of the same records. last: whether the first and the last picture are given.
    condition: latents of kind `first`, if the first alone is. image: where the model reads CLIP's rows of the given ones.
    """

    clips: Latents
    captions: Texts
    last: bool = False
    condition: Latents | None = None
    image: ImageTokens | None = None

    def __len__(self) -> int:
        return len(self.clips.latents)

    def __getitem__(self, index: SupportsIndex) -> int:
        return int(index)

    def example(self, row: int, drop_caption: bool) -> Batch:
        """clip [C, t, h, w] and caption [L, D]; condition [C, t, h, w] and image [m, E] as far as the model reads them, in
        float16 as stored. drop_caption: puts the empty text's in its place."""
        example = {"clip": self.clips.latents[row, 0], "caption": self.captions.embeddings[-1 if drop_caption else row]}
        if self.condition is not None:
            example["condition"] = self.condition.latents[row, 0]
        elif self.last:
            example["condition"] = self.clips.latents[row, 1]
        if self.image is not None:
            tokens = self.image.tokens[row, : 1 + self.last]
            example["image"] = tokens.reshape(-1, tokens.shape[-1])
        return {name: np.array(value) for name, value in example.items()}


def video_examples(source: VideoSource, caption_dropout: float, seed: int) -> grain.MapDataset:
    return Examples(source, seed, functools.partial(_pick, source, caption_dropout))


def _pick(source: VideoSource, caption_dropout: float, row: int, rng: np.random.Generator) -> Batch:
    return source.example(row, rng.random() < caption_dropout)
