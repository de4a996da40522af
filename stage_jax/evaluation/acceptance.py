"""STEP2 held to what was asked of it, on held-out toy stories and over several sampling seeds: memory, own rollout, dual
encoding, preferences. Everything is the same shots under the same noises; errors are clustered by story."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from data_pipeline.records import RecordSource
from stage_jax.errors import InputError
from stage_jax.evaluation.dual_encoding import JOINT, SEPARATE, class_figures, gap_figures, joined
from stage_jax.evaluation.figures import Figure, mean_figure
from stage_jax.evaluation.held_out import HeldOut, Progress, held_out, level_of_records, long_stories
from stage_jax.evaluation.history import History, true_histories
from stage_jax.evaluation.levels import Level
from stage_jax.evaluation.memory_gain import loss_figures, velocity_losses
from stage_jax.evaluation.preference_accuracy import choice_errors, choice_figures, held_out_choices
from stage_jax.evaluation.step2 import (
    Outcomes,
    Pictures,
    attribute_figures,
    draw_with_true_history,
    read_boards,
    recalled,
    reconstructed_pairs,
    roll_out,
)
from stage_jax.generate.models import Models
from stage_jax.generate.pairs import PairSampler
from stage_jax.recipes.step2_config import CLIP_RANKINGS, STEP2Config

Told = Callable[[int, int], None] | None
TRUE, OFF = "true history", "memory off"
LENGTHS = (6, 12)  # shots of the rollouts


@dataclasses.dataclass(frozen=True, eq=False)
class Examination:
    """What is examined, on what. seeds: of the sampling noise. steps, guidance: override the model's own."""

    models: Models
    records: RecordSource
    stories: int = 200
    seeds: tuple[int, ...] = (0, 1, 2)
    steps: int | None = None
    guidance: float | None = None
    progress: Progress | None = None

    def __post_init__(self) -> None:
        """InputError on a model whose recipe asks for CLIP: toy stories are measured without."""
        if self.recipe.image_tokens or self.recipe.ranking in CLIP_RANKINGS:
            raise InputError(f"recipe: found ranking {self.recipe.ranking!r}, expected one without CLIP, and no image tokens")

    @property
    def level(self) -> Level:
        return level_of_records(self.records)

    @property
    def recipe(self) -> STEP2Config:
        return self.models.step2.recipe

    def told(self, label: str) -> Told:
        progress = self.progress
        return None if progress is None else lambda done, total: progress(label, done, total)

    def histories(self, stories: Sequence[HeldOut]) -> list[History]:
        return true_histories(self.models.codec, stories, self.told("encoding"), self.recipe)

    def sampler(self, **changes: bool) -> PairSampler:
        """Of the model with its recipe changed."""
        step2 = dataclasses.replace(self.models.step2, recipe=dataclasses.replace(self.recipe, **changes))
        return PairSampler(step2, self.models.captions, self.steps, self.guidance)

    def with_history(
        self, name: str, histories: Sequence[History], sampler: PairSampler, *, memory: bool = True
    ) -> Outcomes:
        """What the probe reads where every shot is drawn beside the true ones before it, of all seeds together."""

        def draw(seed: int, told: Told) -> list[Pictures]:
            return draw_with_true_history(sampler, self.models.codec, histories, memory=memory, seed=seed, progress=told)

        return self._over_seeds(name, [history.held for history in histories], draw)

    def own_rollout(self, name: str, stories: Sequence[HeldOut], sampler: PairSampler) -> Outcomes:
        """What the probe reads where the model remembers what it drew itself."""
        codec, shape = self.models.codec, self.models.latent_shape()

        def draw(seed: int, told: Told) -> list[Pictures]:
            return roll_out(sampler, codec, stories, shape, seed=seed, recipe=self.recipe, progress=told)

        return self._over_seeds(name, stories, draw)

    def _over_seeds(self, name: str, held: Sequence[HeldOut], draw: Callable[[int, Told], list[Pictures]]) -> Outcomes:
        runs = []
        for seed in self.seeds:
            boards = draw(seed, self.told(f"drawing, {name}, seed {seed}"))
            runs.append(read_boards(held, boards, self.told(f"reading, {name}, seed {seed}")))
        return joined(runs)


def memory_and_pair_figures(exam: Examination) -> list[Figure]:
    """(a) and (c): with the true history, with memory off, and with the frames denoised separately."""
    histories = exam.histories(held_out(exam.records, exam.stories))
    held = [history.held for history in histories]
    losses = velocity_losses(
        exam.models.step2, exam.models.captions, histories, draws=len(exam.seeds), seed=exam.seeds[0], progress=exam.progress
    )
    joint = exam.sampler()
    beside = ceilings(exam, held)
    read = {TRUE: exam.with_history(TRUE, histories, joint), OFF: exam.with_history(OFF, histories, joint, memory=False)}
    figures = loss_figures(losses)
    for name, found in read.items():
        figures += attribute_figures(name, found, *beside.values(), level=exam.level)
    apart = exam.with_history("frames apart", histories, exam.sampler(joint=False))
    figures += gap_figures({JOINT: read[TRUE], SEPARATE: apart, "the VAE's": beside["ceiling"]})
    for name, found in ((TRUE, read[TRUE]), ("frames apart", apart)):
        figures += class_figures(name, found, exam.level, beside)
    return figures


def rollout_figures(exam: Examination) -> list[Figure]:
    """(b): the model's own rollouts beside the same stories with their true history, and by how much accuracy falls."""
    figures = []
    for length in LENGTHS:
        held = long_stories(exam.records, exam.stories, length)
        sampler, beside = exam.sampler(), ceilings(exam, held)
        true = exam.with_history(f"{length} shots, {TRUE}", exam.histories(held), sampler)
        own = exam.own_rollout(f"{length} shots, own rollout", held, sampler)
        name = f"own rollout of {length} shots"
        figures += attribute_figures(f"{TRUE} of {length} shots", true, *beside.values(), level=exam.level)
        for shot in (None, *range(1, length)):
            figures += attribute_figures(name, own, *beside.values(), shot=shot, level=exam.level)
        figures += fall_figures(f"fall over {length} shots", true, own, exam.level)
    return figures


def fall_figures(measure: str, true: Outcomes, own: Outcomes, level: Level) -> list[Figure]:
    """By how much the share read right is lower in a rollout than with the true history, for what memory has to hold."""
    figures = []
    for attribute in level.remembered:
        rows = [
            (story, b.error - a.error)
            for story in true
            for a, b in zip(recalled(true[story]), recalled(own[story]), strict=True)
            if a.attribute == attribute
        ]
        if rows:
            figures.append(
                mean_figure("step2", measure, attribute, "share", [fall for _, fall in rows], [story for story, _ in rows])
            )
    return figures


def preference_figures(before: Examination, after: Examination) -> list[Figure]:
    """(d): two models, before and after DPO: accuracy on every kind of pairs, both errors; what they draw with the true
    history; and what changed."""
    figures = []
    for name, exam in (("before DPO", before), ("after DPO", after)):
        histories = exam.histories(held_out(exam.records, exam.stories))
        choices = held_out_choices(exam.models.codec, histories)
        found = choice_errors(
            exam.models.step2, exam.models.captions, histories, choices,
            draws=len(exam.seeds), seed=exam.seeds[0], progress=exam.progress,
        )  # fmt: skip
        figures += choice_figures(name, found)
        figures += attribute_figures(name, exam.with_history(name, histories, exam.sampler()), level=exam.level)
    return figures + changes(figures)


def changes(figures: Sequence[Figure]) -> list[Figure]:
    """Of every figure before DPO that there is after it, too: by how much it rose. Its error takes the two as independent,
    which on the same stories is too much."""
    by_name = {figure.name: figure for figure in figures}
    found = []
    for figure in figures:
        after = by_name.get(figure.name.replace("before DPO", "after DPO"))
        if after is not None and after is not figure:
            error = None if None in (figure.error, after.error) else float(np.hypot(figure.error, after.error))
            measure = figure.measure.replace("before DPO", "change by DPO")
            change = {"measure": measure, "value": after.value - figure.value, "error": error}
            found.append(dataclasses.replace(figure, **change, chance=None, ceiling=None, ceiling_pictures=None))
    return found


def ceilings(exam: Examination, held: Sequence[HeldOut]) -> Mapping[str, Outcomes]:
    """What the probe reads of the VAE's copies of the true pairs, and of these themselves."""
    copies = [reconstructed_pairs(exam.models.codec, story) for story in held]
    true = [story.pairs for story in held]
    return {
        "ceiling": read_boards(held, copies, exam.told("reading the VAE's copies")),
        "ceiling_pictures": read_boards(held, true, exam.told("reading true pictures")),
    }
