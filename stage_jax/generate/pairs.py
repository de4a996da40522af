"""Drawing pairs with STEP2: noise in, latents of start and end frames out, for a batch of shots at once."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from stage_jax.generate.models import CaptionEncoder, Denoiser
from stage_jax.models.sequence import AnyArray
from stage_jax.recipes.step2 import Given, Memory, pair_sequence, pair_velocity
from stage_jax.sampling.denoise import denoise
from stage_jax.sampling.guidance import Scale, guidance_scale, guided_velocity, norm_rescaled
from stage_jax.sampling.solver import Solver

Known: TypeAlias = tuple[Float[AnyArray, "n 2 c h w"], Bool[AnyArray, "n 2"]]
"""Latents of frames, and which of them are known."""


@dataclasses.dataclass(frozen=True, eq=False)
class PairSampler:
    """steps, guidance: override the model's own way of sampling."""

    step2: Denoiser
    captions: CaptionEncoder
    steps: int | None = None
    guidance: float | None = None

    def __call__(
        self,
        captions: Sequence[str],
        memory: Memory,
        seeds: Sequence[int],
        image_tokens: Float[AnyArray, "n m e"] | None = None,
        known: Known | None = None,
    ) -> Float[Array, "n 2 c h w"]:
        """Latents of one pair per caption. Each has its own seed, so that a shot is the same alone and in a batch (up to
        rounding). Guidance drops the caption only: both branches see the memory (as STAGE's release does). image_tokens: for
        recipes that have them, see `recipes.step2.Given`. known: frames that are not to be drawn."""
        shape = (2, *memory.latents.shape[2:])
        noise = jnp.stack([jax.random.normal(jax.random.key(seed), shape) for seed in seeds])
        guidance = self.step2.sampling["guidance"] if self.guidance is None else self.guidance
        captions, empty = (Given(self.captions(texts), memory, image_tokens) for texts in (captions, [""]))
        return self._sample(noise, captions, empty, self.step2.solver(self.steps), guidance_scale(guidance), known)

    @property
    def settings(self) -> dict[str, Any]:
        """How pairs are sampled: the model's own way, and what overrides it."""
        given = {"steps": self.steps, "guidance": self.guidance}
        return dict(self.step2.sampling) | {name: value for name, value in given.items() if value is not None}

    def programs(self) -> int:
        """How many programs were compiled so far: one per number of shots at once, whatever is remembered."""
        return self._sample._cache_size()

    @functools.cached_property
    def _sample(self):
        return jax.jit(functools.partial(sampled_pairs, self.step2))


def sampled_pairs(
    step2: Denoiser,
    noise: Float[Array, "n 2 c h w"],
    given: Given,
    empty: Given,
    solver: Solver,
    scale: Scale,
    known: Known | None = None,
) -> Float[Array, "n 2 c h w"]:
    """Latents of pairs, for use inside the caller's `jax.jit`. empty: `given` with the empty caption."""
    height, width = step2.dit.config.kernels[0][1:]
    rescale = functools.partial(norm_rescaled, axis=2, patch=(height, width)) if step2.sampling.get("rescale") else None

    def model(pair: Float[Array, "b 2 c h w"], timestep: Float[Array, " b"], given: Given) -> Float[Array, "b 2 c h w"]:
        return pair_velocity(step2.dit(pair_sequence(pair, timestep, given, step2.recipe)), step2.recipe)

    velocity = guided_velocity(model, given, empty, scale, rescale)
    if known is None:
        return denoise(velocity, noise, solver)
    frames, is_known = known
    mask = is_known[:, :, None, None, None]

    def led(pair: Float[Array, "b 2 c h w"], timestep: Float[Array, " b"]) -> Float[Array, "b 2 c h w"]:
        # The straight way from the noise to a known frame: at every step the model sees it at the level of the other.
        return jnp.where(mask, noise - frames, velocity(pair, timestep))

    return jnp.where(mask, frames, denoise(led, noise, solver))
