"""Drawing pairs with STEP2: noise in, latents of start and end frames out, for a batch of shots at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stage_jax.generate.models import CaptionEncoder, Denoiser
from stage_jax.recipes.step2 import Memory, pair_sequence, pair_velocity
from stage_jax.sampling.euler import euler
from stage_jax.sampling.guidance import guided
from stage_jax.sampling.schedule import euler_sigmas


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
        sampling = self.step2.sampling
        guidance = sampling["guidance"] if self.guidance is None else self.guidance
        sigmas = euler_sigmas(self.steps or sampling["steps"], sampling["shift"]).astype(np.float32)
        return self._sample(noise, self.captions(captions), self.captions([""]), memory, sigmas, jnp.float32(guidance))

    @functools.cached_property
    def _sample(self):
        def sample(noise, caption, empty, memory, sigmas, guidance):
            both = jnp.concatenate([caption, jnp.broadcast_to(empty, caption.shape)])
            memories = jax.tree.map(lambda x: jnp.concatenate([x, x]), memory)

            def velocity(pair, timestep):
                sequence = pair_sequence(jnp.concatenate([pair, pair]), jnp.tile(timestep, 2), both, memories)
                with_caption, without = jnp.split(pair_velocity(self.step2.dit(sequence)), 2)
                return guided(with_caption, without, guidance)

            return euler(velocity, noise, sigmas)

        return jax.jit(sample)
