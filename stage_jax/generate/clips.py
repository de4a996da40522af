"""The clip loop: the filler makes the frames between the start and the end of every pair."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from stage_jax.generate.models import Models, to_pixels
from stage_jax.generate.shelf import Shelf
from stage_jax.recipes.wan import flf2v_condition, flf2v_sequence
from stage_jax.sampling.denoise import denoise
from stage_jax.sampling.guidance import guidance_scale, guided_velocity
from stage_jax.sampling.landing import land
from stage_jax.story.board import Board, BoardShot, Clip, Pair
from stage_jax.story.hashes import content_hash, pixel_hash

Progress = Callable[[int, int], None]
CLIP_PARTS = ("vae", "umt5", "dit")  # of the models, that a clip comes from


@runtime_checkable
class Fills(Protocol):
    """Makes clips between the frames of pairs. settings: how it samples. key: the hash of all that a shot's clip is made from,
    in a film of this rate. fill: the clip."""

    settings: dict[str, Any]

    def key(self, shot: BoardShot, fps: float) -> str: ...

    def fill(self, shot: BoardShot, fps: float) -> UInt8[np.ndarray, "frames h w 3"]: ...


@dataclasses.dataclass(frozen=True, eq=False)
class ClipSampler:
    """First/last-frame to video. steps, landing (see `sampling.landing`): override the model's own."""

    models: Models
    steps: int | None = None
    landing: int | None = None

    @property
    def frames(self) -> int:
        """Frames of every clip: the length that the filler was trained at."""
        return self.models.filler.sampling["frames"]

    def __call__(
        self, pairs: Sequence[Pair], captions: Sequence[str], seeds: Sequence[int]
    ) -> UInt8[np.ndarray, "n frames h w 3"]:
        """A clip per pair. Words that the text encoder does not know are left out of the captions."""
        filler = self.models.filler
        config = self.models.codec.vae.config
        first, last = (to_pixels(np.stack([getattr(pair, end) for pair in pairs])) for end in ("start", "end"))
        sides = (side // config.spatial_stride for side in first.shape[1:3])
        shape = (config.latent_channels, config.latent_frames(self.frames), *sides)
        noise = jnp.stack([jax.random.normal(jax.random.key(seed), shape) for seed in seeds])
        encode, scale = self.models.captions, guidance_scale(filler.sampling["guidance"])
        embedded, empty = encode(captions, allow_unknown=True), encode([""])
        return self.models.codec.decode_clips(
            self._sample(noise, first, last, embedded, empty, filler.solver(self.steps), scale)
        )

    @property
    def settings(self) -> dict[str, Any]:
        """How clips are sampled: the model's own way, and what overrides it."""
        overrides = {"steps": self.steps, "landing": self.landing}
        return dict(self.models.filler.sampling) | {name: value for name, value in overrides.items() if value is not None}

    def key(self, shot: BoardShot, fps: float) -> str:
        hashes = self.models.hashes
        return content_hash({
            "pair": [pixel_hash(shot.pair.start), pixel_hash(shot.pair.end)], "caption": clip_words(shot), "seed": shot.seed,
            "sampling": self.settings, "weights": {part: hashes[part] for part in CLIP_PARTS if part in hashes},
        })  # fmt: skip

    def fill(self, shot: BoardShot, fps: float) -> UInt8[np.ndarray, "frames h w 3"]:
        return self([shot.pair], [clip_words(shot)], [shot.seed])[0]

    @functools.cached_property
    def _sample(self):
        landing = self.settings.get("landing", 0)

        def model(latent, timestep, conditions):
            return self.models.filler.dit(flf2v_sequence(latent, conditions[0], timestep, conditions[1])).outputs[0]

        def sample(noise, first, last, caption, empty, solver, scale):
            vae = self.models.codec.vae
            condition = flf2v_condition(vae, first, last, self.frames)
            velocity = guided_velocity(model, (condition, caption), (condition, empty), scale)
            return land(vae, denoise(velocity, noise, solver), last, landing)

        return jax.jit(sample)


def clip_words(shot: BoardShot) -> str:
    """What the filler reads: the shot's video prompt, or else its caption."""
    return shot.shot.video_prompt or shot.caption


def fill_board(board: Board, sampler: Fills, progress: Progress | None = None, shelf: Shelf | None = None) -> Board:
    """The board with a clip for every shot. A shot that starts on the very frame on which the one before it ends has a clip
    without that frame, so that the film shows it once. shelf: where finished clips are kept, found again, and read from when
    they are wanted; without one all of them are in memory."""
    shots: list[BoardShot] = []
    for index, shot in enumerate(board.shots):
        key = sampler.key(shot, board.fps)
        found = shelf.get(key) if shelf else None
        frames = found["clip"] if found else sampler.fill(shot, board.fps)
        if shelf and not found:
            shelf.put(key, clip=frames)
        begin = int(bool(shots) and len(frames) > 1 and np.array_equal(shots[-1].pair.end, shot.pair.start))
        read = functools.partial(_from_shelf, shelf, key, begin)
        clip = Clip(len(frames) - begin, read) if shelf else Clip.of(frames[begin:])
        shots.append(dataclasses.replace(shot, clip=clip, clip_key=key))
        if progress:
            progress(index + 1, len(board.shots))
    return dataclasses.replace(board, shots=tuple(shots))


def _from_shelf(shelf: Shelf, key: str, begin: int) -> UInt8[np.ndarray, "frames h w 3"]:
    return shelf.get(key)["clip"][begin:]
