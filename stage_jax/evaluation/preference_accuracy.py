"""How well a model tells a shot's true pair from a worse one, and what its errors on both are: what DPO is judged by."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from data_pipeline.toy_cinema.full import pairs as full_pairs
from data_pipeline.toy_cinema.full.world import FullStory
from stage_jax.evaluation.batches import mapped
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.held_out import Progress, shot_seed
from stage_jax.evaluation.history import Example, History, memory_of
from stage_jax.evaluation.vae import STILLS
from stage_jax.generate.models import CaptionEncoder, Denoiser, PictureCodec
from stage_jax.losses.dpo import PairErrors
from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.recipes.step2 import Given, pair_sequence, pair_velocity
from stage_jax.sampling.schedule import TIMESTEPS

SIGMAS = (0.3, 0.5, 0.7, 0.85, 0.95)
BATCH = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Choices:
    """Preferences of held-out stories. where: of each, its history and shot. kinds: `interior`, or how the cut is broken."""

    where: tuple[Example, ...]
    kinds: tuple[str, ...]
    rejected: Float[np.ndarray, "n 2 c h w"]


@dataclasses.dataclass(frozen=True, eq=False)
class ChoiceErrors:
    """Mean over levels and draws, and whether the chosen pair has the smaller error of the two, at each level."""

    errors: PairErrors
    right: Float[np.ndarray, "n sigmas"]
    stories: Int[np.ndarray, " n"]
    kinds: tuple[str, ...]


def held_out_choices(codec: PictureCodec, histories: Sequence[History]) -> Choices:
    """Of every shot in which something moves, two frames from inside it; of level `full` also every cut that can be broken."""
    where, kinds, pictures = [], [], []
    for s, history in enumerate(histories):
        toy, stills = history.held.toy, history.held.stills
        cuts = dict(full_pairs.broken_cuts(toy)) if isinstance(toy, FullStory) else {}
        for shot in range(len(stills)):
            if not isinstance(toy, FullStory) or full_pairs.moves(toy, shot):
                where.append((s, shot))
                kinds.append(full_pairs.INTERIOR)
                pictures.append(stills[shot, 2:4])
            if shot in cuts:
                where.append((s, shot))
                kinds.append(cuts[shot])
                pictures.append(full_pairs.broken_pair(toy, shot, stills.shape[2]))
    frames = np.concatenate(pictures)
    latents = mapped(lambda rows: np.asarray(codec.encode_stills(frames[rows])), len(frames), STILLS)
    return Choices(tuple(where), tuple(kinds), latents.reshape(-1, 2, *latents.shape[1:]))


def choice_errors(
    step2: Denoiser,
    captions: CaptionEncoder,
    histories: Sequence[History],
    choices: Choices,
    *,
    draws: int = 2,
    seed: int = 0,
    progress: Progress | None = None,
) -> ChoiceErrors:
    """Both pairs of a choice see the same noises, levels, caption and true memory."""

    @jax.jit
    def errors(pairs: Float[Array, "2 b f c h w"], noise: Float[Array, "b f c h w"], given: Given) -> Float[Array, "2 s b"]:
        def at(sigma: Array) -> Array:
            level = jnp.full(noise.shape[0], sigma)

            def of(pair: Array) -> Array:
                sequence = pair_sequence(noised(pair, noise, level), TIMESTEPS * level, given, step2.recipe)
                velocity = pair_velocity(step2.dit(sequence), step2.recipe)
                return velocity_error(velocity, velocity_target(pair, noise))

            return jax.lax.map(of, pairs)

        return jax.lax.map(at, jnp.array(SIGMAS)).swapaxes(0, 1)

    def batch(rows: list[int]) -> np.ndarray:
        where = [choices.where[row] for row in rows]
        chosen = np.stack([histories[s].pair(i) for s, i in where])
        pairs = jnp.asarray(np.stack([chosen, choices.rejected[rows]]))
        given = Given(captions([histories[s].caption(i) for s, i in where]), memory_of(histories, where))
        keys = [jax.random.key(shot_seed(seed, histories[s].held.index, i)) for s, i in where]
        found = []
        for draw in range(draws):
            noise = jnp.stack([jax.random.normal(jax.random.fold_in(key, draw), chosen.shape[1:]) for key in keys])
            found.append(np.asarray(errors(pairs, noise, given), np.float64))
        return np.moveaxis(np.mean(found, axis=0), 2, 0)

    told = None if progress is None else lambda done, total: progress("errors on both pairs", done, total)
    values = mapped(batch, len(choices.where), BATCH, told)  # [n, 2, sigmas]
    return ChoiceErrors(
        PairErrors(*values.mean(-1).T),
        (values[:, 1] > values[:, 0]).astype(np.float64),
        np.array([histories[s].held.index for s, _ in choices.where]),
        choices.kinds,
    )


def choice_figures(name: str, found: ChoiceErrors) -> list[Figure]:
    """Of every kind: the share of (choice, level) in which the true pair is predicted better; both errors."""
    figures = []
    for kind in dict.fromkeys(found.kinds):
        rows = [row for row, other in enumerate(found.kinds) if other == kind]
        stories = found.stories[rows]
        measure = f"{name}: preferences, {kind}"
        right = found.right[rows].mean(1)
        figures.append(mean_figure("step2", measure, "pair accuracy", "share", right, stories, chance=0.5, ceiling=1.0))
        for what, errors in (("chosen", found.errors.chosen), ("rejected", found.errors.rejected)):
            figures.append(mean_figure("step2", measure, f"error, {what}", "loss", errors[rows], stories))
    return figures
