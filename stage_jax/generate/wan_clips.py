"""The clip loop's sampler for Wan's own models: clips as long as the story says, at the film's rate."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from stage_jax.generate.clips import ClipSampler, Fills, clip_words
from stage_jax.generate.models import Models, to_pixels
from stage_jax.generate.video import Request, Sampling, VideoSampler
from stage_jax.generate.wan_filler import WanFiller
from stage_jax.models.vae import VAE
from stage_jax.recipes.sizes import nearest_frames
from stage_jax.sampling.landing import land
from stage_jax.sampling.named import solver_named
from stage_jax.story.board import BoardShot
from stage_jax.story.hashes import content_hash, pixel_hash


def clip_sampler(models: Models, steps: int | None = None, landing: int | None = None) -> Fills:
    """What fills pairs with these models. steps, landing (see `sampling.landing`): override the model's own. InputError for
    steps that the model's shift leaves no noise levels for."""
    if isinstance(models.filler, WanFiller):
        return WanClipSampler(models.filler, steps, landing)
    return ClipSampler(models, steps, landing)


@dataclasses.dataclass(frozen=True, eq=False)
class WanClipSampler:
    """steps, landing: as `clip_sampler`."""

    filler: WanFiller
    steps: int | None = None
    landing: int | None = None

    def __post_init__(self) -> None:
        _ = self._sampling  # what cannot be is said before anything is drawn

    @property
    def settings(self) -> dict[str, Any]:
        """How clips are sampled: the model's own way, and what overrides it."""
        overrides = {"steps": self.steps, "landing": self.landing}
        return self.filler.sampling | {name: value for name, value in overrides.items() if value is not None}

    def frames(self, seconds: float) -> int:
        """Those that the model makes for a shot of this length: 4k + 1 at the model's own rate, 5 at least."""
        how, vae = self.filler.how, self.filler.models.vae.config
        wished = nearest_frames(1 + round(seconds * how.fps), vae)
        return min(max(wished, 1 + vae.temporal_stride), how.frames)

    def key(self, shot: BoardShot, fps: float) -> str:
        """The hash of all that the shot's clip is made from."""
        return content_hash({
            "pair": [pixel_hash(shot.pair.start), pixel_hash(shot.pair.end)], "caption": clip_words(shot), "seed": shot.seed,
            "negative": self.filler.negative, "frames": self.frames(shot.shot.seconds), "fps": fps,
            "sampling": self.settings, "weights": dict(self.filler.hashes),
        })  # fmt: skip

    def fill(self, shot: BoardShot, fps: float) -> UInt8[np.ndarray, "frames h w 3"]:
        """The shot's clip at `fps`."""
        pair, frames = shot.pair, self.frames(shot.shot.seconds)
        size = pair.start.shape[:2]
        request = Request([clip_words(shot)], self.filler.negative, pair.start[None], pair.end[None])
        self._sampler.check(request, size, frames)
        noise = self._sampler.noise(jax.random.key(shot.seed), 1, size, frames)
        latents = self._sampler.latents(request, noise, self._sampling)
        if landing := self.settings["landing"]:
            latents = self._land(latents, to_pixels(pair.end[None]), steps=landing)
        return at_rate(self._sampler.decode(latents)[0], float(self.filler.how.fps), fps)

    @functools.cached_property
    def _sampling(self) -> Sampling:
        how = self.settings
        return Sampling(solver_named(how["solver"], how["steps"], how["shift"]), how["guidance"], how["boundary"] or 0.0)

    @functools.cached_property
    def _sampler(self) -> VideoSampler:
        return VideoSampler(self.filler.models)

    @functools.cached_property
    def _land(self):
        def landed(vae: VAE, latents: Float[Array, "1 c t y x"], last: Float[Array, "1 h w 3"], steps: int):
            return land(vae, latents, last, steps)

        return self.filler.models.vae.compiled(landed, "steps")


def at_rate(clip: UInt8[np.ndarray, "frames h w 3"], made: float, wanted: float) -> UInt8[np.ndarray, "others h w 3"]:
    """The clip at another rate, and as long: at each time the frame that is nearest to it; the first and the last one stay."""
    last = len(clip) - 1
    count = max(round(last * wanted / made), 1) + 1
    return clip[np.linspace(0, last, count).round().astype(int)]
