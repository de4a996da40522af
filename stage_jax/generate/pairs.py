"""Drawing pairs with STEP2: noise in, latents of start and end frames out, for a batch of shots at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from stage_jax.generate.models import CaptionEncoder, Denoiser
from stage_jax.recipes.step2 import Memory, pair_sequence, pair_velocity
from stage_jax.sampling.denoise import denoise
from stage_jax.sampling.guidance import guidance_scale, guided_velocity


@dataclasses.dataclass(frozen=True, eq=False)
class PairSampler:
    """steps, guidance: override the model's own way of sampling."""

    step2: Denoiser
    captions: CaptionEncoder
    steps: int | None = None
    guidance: float | None = None

    def __call__(self, captions: Sequence[str], memory: Memory, seeds: Sequence[int]) -> Float[Array, "n 2 c h w"]:
        """Latents of one pair per caption. Each has its own seed, so that a shot is the same alone and in a batch (up to
        rounding). Guidance drops the caption only: both branches see the memory (as STAGE's release does)."""
        shape = (2, *memory.latents.shape[2:])
        noise = jnp.stack([jax.random.normal(jax.random.key(seed), shape) for seed in seeds])
        guidance = self.step2.sampling["guidance"] if self.guidance is None else self.guidance
        captions, empty = self.captions(captions), self.captions([""])
        return self._sample(noise, captions, empty, memory, self.step2.solver(self.steps), guidance_scale(guidance))

    @functools.cached_property
    def _sample(self):
        def model(pair, timestep, conditions):
            return pair_velocity(self.step2.dit(pair_sequence(pair, timestep, *conditions)))

        def sample(noise, caption, empty, memory, solver, scale):
            velocity = guided_velocity(model, (caption, memory), (empty, memory), scale)
            return denoise(velocity, noise, solver)

        return jax.jit(sample)
