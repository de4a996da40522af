"""Which noise levels training sees: a density over sigma in [0, 1], shifted as the sampler shifts its own, within a range."""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from statistics import NormalDist
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from stage_jax.sampling.schedule import shift_sigma


@dataclass(frozen=True)
class NoiseLevels:
    """density: of sigma before the shift. "uniform", or "logit_normal" (Stable Diffusion 3): the sigmoid of a normal variable
    of this mean and std. shift: towards noise (`shift_sigma`). low, high: the range that is kept of the shifted density, with
    its shape: what each of Wan2.2's two experts is trained on. ValueError for what cannot be.
    """

    shift: float = 1.0
    density: Literal["uniform", "logit_normal"] = "uniform"
    mean: float = 0.0
    std: float = 1.0
    low: float = 0.0
    high: float = 1.0

    def __post_init__(self) -> None:
        if self.density not in ("uniform", "logit_normal"):
            raise ValueError(f"density: found {self.density!r}, expected uniform or logit_normal")
        if not (self.shift > 0 and self.std > 0 and 0 <= self.low < self.high <= 1):
            raise ValueError(
                f"found shift {self.shift}, std {self.std}, range {self.low} to {self.high}; expected the first two above 0 "
                "and a range in 0 to 1"
            )

    def sample(self, key: PRNGKeyArray, batch: int) -> Float[Array, " batch"]:
        """Stratified over the batch, so that every step sees all levels (our choice), in random order."""
        low, high = self._below(self.low), self._below(self.high)
        even = low + (high - low) * stratified(key, batch)
        if self.density == "logit_normal":
            even = jax.nn.sigmoid(self.mean + self.std * jax.scipy.special.ndtri(even))
        return shift_sigma(even, self.shift)

    def _below(self, sigma: float) -> float:
        """The share of the density below a shifted level."""
        plain = sigma / (self.shift - (self.shift - 1) * sigma)  # the inverse of `shift_sigma`
        if self.density == "uniform" or plain in (0, 1):
            return plain
        return NormalDist(self.mean, self.std).cdf(log(plain / (1 - plain)))


def stratified(key: PRNGKeyArray, batch: int) -> Float[Array, " batch"]:
    """One uniform number in each of `batch` equal parts of [0, 1), in random order."""
    even = (jnp.arange(batch) + jax.random.uniform(key, (batch,))) / batch
    return jax.random.permutation(jax.random.fold_in(key, 1), even)
