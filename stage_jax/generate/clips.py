"""The clip loop: the filler makes the frames between the start and the end of every pair."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from stage_jax.generate.models import Models, to_pixels
from stage_jax.recipes.wan import flf2v_condition, flf2v_sequence
from stage_jax.sampling.euler import euler
from stage_jax.sampling.guidance import guided
from stage_jax.sampling.schedule import euler_sigmas
from stage_jax.story.board import Board, Pair

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class ClipSampler:
    """First/last-frame to video. steps: overrides the model's own."""

    models: Models
    steps: int | None = None

    @property
    def frames(self) -> int:
        """Frames of every clip: the length that the filler was trained at."""
        return self.models.filler.sampling["frames"]

    def __call__(
        self, pairs: Sequence[Pair], captions: Sequence[str], seeds: Sequence[int]
    ) -> UInt8[np.ndarray, "n frames h w 3"]:
        """A clip per pair. Words that the text encoder does not know are left out of the captions."""
        sampling = self.models.filler.sampling
        config = self.models.codec.vae.config
        first, last = (to_pixels(np.stack([getattr(pair, end) for pair in pairs])) for end in ("start", "end"))
        sides = (side // config.spatial_stride for side in first.shape[1:3])
        shape = (config.latent_channels, config.latent_frames(self.frames), *sides)
        noise = jnp.stack([jax.random.normal(jax.random.key(seed), shape) for seed in seeds])
        encode = self.models.captions
        sigmas = euler_sigmas(self.steps or sampling["steps"], sampling["shift"]).astype(np.float32)
        latents = self._sample(noise, first, last, encode(captions, allow_unknown=True), encode([""]), sigmas)
        return self.models.codec.decode_clips(latents)

    @functools.cached_property
    def _sample(self):
        dit, guidance = self.models.filler.dit, self.models.filler.sampling["guidance"]
        branches = 1 if guidance == 1 else 2  # at 1 the empty caption has no say

        def sample(noise, first, last, caption, empty, sigmas):
            condition = flf2v_condition(self.models.codec.vae, first, last, self.frames)
            conditions = jnp.concatenate([condition] * branches)
            captions = jnp.concatenate([caption, jnp.broadcast_to(empty, caption.shape)][:branches])

            def velocity(latent, timestep):
                latents, timesteps = jnp.concatenate([latent] * branches), jnp.tile(timestep, branches)
                output = dit(flf2v_sequence(latents, conditions, timesteps, captions)).outputs[0]
                return output if branches == 1 else guided(*jnp.split(output, 2), guidance)

            return euler(velocity, noise, sigmas)

        return jax.jit(sample)


def fill_board(board: Board, sampler: ClipSampler, progress: Progress | None = None) -> Board:
    """The board with a clip for every shot, in the words of its video prompt or else of its caption."""
    shots = []
    for index, shot in enumerate(board.shots):
        caption = shot.shot.video_prompt or shot.caption
        clip = sampler([shot.pair], [caption], [shot.seed])[0]
        shots.append(dataclasses.replace(shot, clip=clip))
        if progress:
            progress(index + 1, len(board.shots))
    return dataclasses.replace(board, shots=tuple(shots))
