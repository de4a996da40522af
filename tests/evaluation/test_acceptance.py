"""What STEP2 is held to: gaps, falls, choices and changes, on pictures and numbers whose figures are known."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipeline.toy_cinema import render, world
from data_pipeline.toy_cinema.full import stories as full_stories
from data_pipeline.toy_cinema.full.pairs import broken_cuts, moves
from data_pipeline.toy_cinema.written import to_story
from stage_jax.evaluation.acceptance import changes, fall_figures
from stage_jax.evaluation.dual_encoding import JOINT, SEPARATE, class_figures, gap_figures, joined
from stage_jax.evaluation.figures import Figure
from stage_jax.evaluation.goals import STEP2_GOALS, verdict
from stage_jax.evaluation.held_out import HeldOut, shot_seed
from stage_jax.evaluation.history import true_histories
from stage_jax.evaluation.levels import EASY, FULL, level_of
from stage_jax.evaluation.preference_accuracy import SIGMAS, ChoiceErrors, choice_errors, choice_figures, held_out_choices
from stage_jax.evaluation.step2 import attribute_figures
from stage_jax.generate.models import CaptionEncoder, Denoiser
from stage_jax.losses.dpo import PairErrors
from stage_jax.models.dit import DiTOutput
from stage_jax.recipes.step2_config import TINY
from tests.evaluation.oracles import bare, patch_codec, story

JITTER = 4


class NoCaptions(CaptionEncoder):
    def __call__(self, captions, allow_unknown=False):
        return jnp.zeros((len(captions), 1, 4))


@pytest.fixture(scope="module")
def stories() -> list[HeldOut]:
    return [story(seed).first(3) for seed in (1, 2)]


def full_story(seed: int) -> HeldOut:
    toy = full_stories.random_story(seed, "test")
    example = FULL.example(toy, False, 2, world.SIDE)
    n, size = example.shots, example.frames.shape[1:]
    return HeldOut(seed, to_story(toy), toy, example.frames.reshape(n, -1, *size), example.clips.reshape(n, 0, *size))


def apart(held: HeldOut) -> np.ndarray:
    """The true pairs, but every end frame stands JITTER pixels further left than it should."""
    shots = tuple(dataclasses.replace(shot, x=tuple(x - JITTER for x in shot.x)) for shot in held.toy.shots)
    moved = dataclasses.replace(held.toy, shots=shots)
    pairs = held.pairs.copy()
    for i in range(len(pairs)):
        pairs[i, 1] = render.render_frame(moved, i, 1.0)
    return pairs


def test_frames_that_disagree_have_a_gap(stories: list[HeldOut]):
    read = {
        JOINT: {held.index: EASY.outcomes(held.toy, held.pairs) for held in stories},
        SEPARATE: {held.index: EASY.outcomes(held.toy, apart(held)) for held in stories},
    }
    figures = {figure.what: figure for figure in gap_figures(read)}
    assert figures["start-end gap, joint"].value < 0.5
    assert figures["start-end gap, separate"].value == pytest.approx(JITTER, abs=0.7)
    assert figures["start-end gap, smaller by"].value > 0.8
    (motion,) = class_figures("true history", read[JOINT], EASY, {"ceiling": read[JOINT]})
    assert (motion.what, motion.value, motion.ceiling, motion.chance) == ("motion", 1.0, 1.0, 1 / 3)
    assert motion.n == sum(len(held.toy.shots) for held in stories)


def test_several_seeds_are_one_sample_of_stories(stories: list[HeldOut]):
    first = {held.index: EASY.outcomes(held.toy, held.pairs) for held in stories}
    second = {held.index: EASY.outcomes(held.toy, apart(held)) for held in stories}
    both = joined([first, second])
    assert {index: len(found) for index, found in both.items()} == {index: 2 * len(found) for index, found in first.items()}
    assert all(both[index] == [*first[index], *second[index]] for index in first)


def test_a_fall_is_the_difference_on_the_same_shots(stories: list[HeldOut]):
    true = {held.index: EASY.outcomes(held.toy, held.pairs) for held in stories}
    wrong = {
        index: [dataclasses.replace(o, error=1.0) if o.attribute == "place" else o for o in found]
        for index, found in true.items()
    }
    falls = {figure.what: figure.value for figure in fall_figures("fall over 3 shots", true, wrong, EASY)}
    assert falls.pop("place") == 1.0 and not any(falls.values()) and set(falls) <= {"colour", "shape", "hat"}


def test_choices_of_both_levels(stories: list[HeldOut]):
    """Of level easy the interior frames of every shot; of level full those where something moves, and all broken cuts."""
    codec = patch_codec()
    easy = held_out_choices(codec, true_histories(codec, stories))
    assert set(easy.kinds) == {"interior"} and len(easy.where) == 6
    for (s, shot), latents in zip(easy.where, easy.rejected, strict=True):
        np.testing.assert_array_equal(codec.decode_stills(latents), stories[s].stills[shot, 2:4])
    full = next(held for held in map(full_story, range(20)) if broken_cuts(held.toy))
    assert level_of(full.toy) is FULL
    found = held_out_choices(codec, true_histories(codec, [full]))
    cuts = [(0, shot) for shot, _ in broken_cuts(full.toy)]
    assert [w for w, kind in zip(found.where, found.kinds, strict=True) if kind != "interior"] == cuts
    assert found.kinds.count("interior") == sum(moves(full.toy, shot) for shot in range(len(full.toy.shots)))


def test_figures_of_level_full():
    """The probe reads true pictures right; the motion that goes on and the cut are among what the caption does not tell."""
    held = next(held for held in map(full_story, range(20)) if broken_cuts(held.toy)).first(5)
    read = {held.index: FULL.outcomes(held.toy, held.pairs)}
    figures = {figure.what: figure for figure in attribute_figures("true history", read, read, level=FULL)}
    assert set(figures) <= {*FULL.remembered, "motion", "cut", "position"}
    assert all(figures[what].value > 0.8 for what in ("colour", "sky"))
    motion, camera = class_figures("true history", read, FULL, {})
    assert (motion.chance, camera.chance, camera.n) == (1 / 5, 1 / 7, len(held.toy.shots)) and camera.value == 1.0


def test_errors_of_a_model_that_says_nothing(stories: list[HeldOut]):
    """Zero velocity: the error is the mean square of noise - data, of the same noise for both pairs."""
    codec = patch_codec()
    histories = true_histories(codec, stories)
    choices = held_out_choices(codec, histories)

    def silent(sequence) -> DiTOutput:
        target = sequence.segments[0].latent
        return DiTOutput((jnp.zeros_like(target[:, : histories[0].bank.latents.shape[1]]),))

    step2 = bare(Denoiser, dit=silent, recipe=TINY)
    found = choice_errors(step2, bare(NoCaptions), histories, choices, draws=1)
    for row, (s, shot) in enumerate(choices.where):
        key = jax.random.fold_in(jax.random.key(shot_seed(0, histories[s].held.index, shot)), 0)
        noise = np.asarray(jax.random.normal(key, histories[s].pair(shot).shape))
        chosen, rejected = (((noise - pair) ** 2).mean() for pair in (histories[s].pair(shot), choices.rejected[row]))
        np.testing.assert_allclose([found.errors.chosen[row], found.errors.rejected[row]], [chosen, rejected], rtol=1e-4)
        assert (found.right[row] == (rejected > chosen)).all() and len(found.right[row]) == len(SIGMAS)


def test_figures_of_choices_and_what_changed():
    def found(right: float, chosen: float) -> ChoiceErrors:
        errors = PairErrors(np.full(4, chosen), np.full(4, 0.5))
        return ChoiceErrors(errors, np.full((4, 5), right), np.arange(4), ("interior",) * 2 + ("match on action",) * 2)

    figures = choice_figures("before DPO", found(0.5, 0.4)) + choice_figures("after DPO", found(0.75, 0.3))
    assert figures[0].name == "step2: before DPO: preferences, interior: pair accuracy" and figures[0].chance == 0.5
    changed = {figure.name: figure for figure in changes(figures)}
    gain = changed["step2: change by DPO: preferences, match on action: pair accuracy"]
    assert gain.value == 0.25 and gain.chance is None and verdict(gain, STEP2_GOALS) == "≥ 0.1: met"
    error = changed["step2: change by DPO: preferences, interior: error, chosen"]
    assert error.value == pytest.approx(-0.1) and verdict(error, STEP2_GOALS) == "≤ 0: met"
    assert len(changed) == 6 and isinstance(error, Figure)
