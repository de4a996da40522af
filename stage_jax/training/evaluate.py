"""The loss on held-out data while a run trains, in bands of the noise level: always the same examples, noise and levels."""

from __future__ import annotations

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from stage_jax.sampling.noise_levels import stratified
from stage_jax.training.state import Params
from stage_jax.training.tasks import Task

SEED = 0  # of noise and levels, whatever the run's seed: losses of runs compare


class Evaluation:
    """`config.evaluate`: every (steps), split, batches (how many of the split's first), bands (equal parts of the noise levels
    that the task trains on). Compiled apart from the step; its results stay on the device."""

    def __init__(self, config: ConfigDict, task: Task):
        self._every, self._last = config.evaluate.every, config.steps
        stream = task.held_out(config.evaluate.split)
        self._batches = list(itertools.islice(stream, config.evaluate.batches))
        stream.close()
        low, high = task.levels
        edges = np.linspace(low, high, config.evaluate.bands + 1) if high > low else np.array([low, high])
        self._bands = list(itertools.pairwise(edges.tolist()))

        def band_loss(
            params: Params, batch: Any, number: Int[Array, ""], low: Float[Array, ""], high: Float[Array, ""]
        ) -> Float[Array, ""]:
            key = jax.random.fold_in(jax.random.key(SEED), number)
            rows = len(jax.tree.leaves(batch)[0])
            sigma = low + (high - low) * stratified(jax.random.fold_in(key, 1), rows)
            return task.loss(params, task.draw(batch, key, sigma))[0].mean()

        self._loss = jax.jit(band_loss)

    def is_due(self, step: int) -> bool:
        return step % self._every == 0 or step == self._last

    def __call__(self, params: Params) -> dict[str, Array]:
        """eval_loss, and eval_loss_LOW_HIGH of every band."""
        losses = {
            f"eval_loss_{low:.2f}_{high:.2f}": jnp.stack(
                [self._loss(params, batch, number, low, high) for number, batch in enumerate(self._batches)]
            ).mean()
            for low, high in self._bands
        }
        mean = jnp.stack(list(losses.values())).mean()
        return {"eval_loss": mean} | (losses if len(losses) > 1 else {})
