"""How much memory helps, without drawing anything: the velocity loss at fixed noise levels with the true memory, with none,
and with another story's. All three see the same noises."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from stage_jax.evaluation.batches import mapped
from stage_jax.evaluation.figures import Figure, mean_figure, ratio_figure
from stage_jax.evaluation.held_out import Progress, shot_seed
from stage_jax.evaluation.history import Example, History, elsewhere, examples, memory_of, no_memory
from stage_jax.generate.models import CaptionEncoder, Denoiser
from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.recipes.step2 import Given, Memory, pair_sequence, pair_velocity
from stage_jax.sampling.schedule import TIMESTEPS

SIGMAS = (0.5, 0.7, 0.85, 0.95)
ARMS = ("true memory", "no memory", "another story's memory")
BATCH = 48


@dataclasses.dataclass(frozen=True, eq=False)
class Losses:
    """values: mean over the noise draws. stories: of each example, its story's index."""

    values: Float[np.ndarray, "arms sigmas examples"]
    stories: Int[np.ndarray, " examples"]


def arm_memory(histories: Sequence[History], chosen: Sequence[Example], arm: str) -> Memory:
    """The memory that some shots see in an arm of the comparison."""
    if arm == ARMS[2]:
        return memory_of(histories, [elsewhere(histories, example) for example in chosen])
    memory = memory_of(histories, chosen)
    return no_memory(memory) if arm == ARMS[1] else memory


def velocity_losses(
    step2: Denoiser,
    captions: CaptionEncoder,
    histories: Sequence[History],
    *,
    draws: int = 3,
    seed: int = 0,
    progress: Progress | None = None,
) -> Losses:
    """Losses of all shots that have a history. Each shot has `draws` noises of its own, the same at every level."""
    shots = examples(histories, first_shot=1)

    @jax.jit
    def losses(pair: Array, noise: Array, caption: Array, memory: Memory) -> Array:
        def at(sigma: Array) -> Array:
            level = jnp.full(pair.shape[0], sigma)
            given = Given(caption, memory)
            sequence = pair_sequence(noised(pair, noise, level), TIMESTEPS * level, given, step2.recipe)
            return velocity_error(pair_velocity(step2.dit(sequence), step2.recipe), velocity_target(pair, noise))

        return jax.lax.map(at, jnp.array(SIGMAS)).T

    def of(rows: list[int], arm: str) -> np.ndarray:
        chosen = [shots[row] for row in rows]
        pairs = jnp.asarray(np.stack([histories[s].pair(i) for s, i in chosen]))
        embedded = captions([histories[s].caption(i) for s, i in chosen])
        memory = arm_memory(histories, chosen, arm)
        keys = [jax.random.key(shot_seed(seed, histories[s].held.index, i)) for s, i in chosen]
        found = []
        for draw in range(draws):
            noise = jnp.stack([jax.random.normal(jax.random.fold_in(key, draw), pairs.shape[1:]) for key in keys])
            found.append(np.asarray(losses(pairs, noise, embedded, memory), np.float64))
        return np.mean(found, axis=0)

    def report(number: int):
        label = f"velocity loss, arm {number + 1} of {len(ARMS)}"
        return None if progress is None else lambda done, total: progress(label, done, total)

    values = [mapped(lambda rows, arm=arm: of(rows, arm), len(shots), BATCH, report(a)).T for a, arm in enumerate(ARMS)]
    return Losses(np.stack(values), np.array([histories[s].held.index for s, _ in shots]))


def loss_figures(losses: Losses) -> list[Figure]:
    """The loss of every arm at every level; the memory's gain 1 - true / none, and what another story's costs."""
    figures = []
    for level, sigma in enumerate(SIGMAS):
        measure = f"velocity loss at sigma {sigma}"
        true, none, wrong = losses.values[:, level]
        for arm, values in zip(ARMS, (true, none, wrong), strict=True):
            figures.append(mean_figure("step2", measure, arm, "loss", values, losses.stories))
        figures.append(ratio_figure("step2", measure, "gain of memory", true, none, losses.stories, gain=True))
        figures.append(ratio_figure("step2", measure, "another story's / none", wrong, none, losses.stories))
    return figures
