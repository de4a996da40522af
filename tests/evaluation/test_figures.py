"""Means with clustered errors, ratios, goals and tables."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from stage_jax.evaluation.batches import mapped
from stage_jax.evaluation.figures import Figure, as_json, clustered_error, markdown_table, mean_figure, ratio_figure
from stage_jax.evaluation.goals import GOALS, Goal, verdict
from stage_jax.evaluation.sheets import bar_chart, frame_rows


def test_the_error_is_the_plain_one_if_every_value_is_its_own_cluster():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert clustered_error(values, np.arange(4)) == pytest.approx(values.std(ddof=1) / 2)


def test_repeating_values_within_a_cluster_does_not_shrink_the_error():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    assert clustered_error(values.repeat(5), np.arange(4).repeat(5)) == pytest.approx(clustered_error(values, np.arange(4)))
    assert clustered_error(values, np.zeros(4, int)) is None


def test_a_mean_counts_its_values_and_stories():
    figure = mean_figure("p", "m", "w", "share", [True, False, True, True], [3, 3, 5, 5], chance=0.25)
    assert (figure.value, figure.n, figure.stories, figure.chance) == (0.75, 4, 2, 0.25)
    with pytest.raises(ValueError, match="nothing to measure"):
        mean_figure("p", "m", "w", "share", [], [])


def test_gain_is_one_minus_the_ratio_of_means():
    true, none, stories = np.array([1.0, 3.0]), np.array([2.0, 8.0]), np.arange(2)
    assert ratio_figure("p", "m", "w", true, none, stories).value == pytest.approx(0.4)
    gain = ratio_figure("p", "m", "w", true, none, stories, gain=True)
    assert gain.value == pytest.approx(0.6)
    # residuals (1 - .4*2, 3 - .4*8) / 5 = (.04, -.04): sqrt(2 * (.04^2 + .04^2)) / 2
    assert gain.error == pytest.approx(0.04)
    assert ratio_figure("p", "m", "w", none / 4, none, stories).error == pytest.approx(0)


@pytest.mark.parametrize(
    ("goal", "value", "said"),
    [
        (Goal(least=0.9, floor=0.7), 0.95, "≥ 0.9: met"),
        (Goal(least=0.9, floor=0.7), 0.8, "≥ 0.9: short, floor 0.7 holds"),
        (Goal(least=0.9, floor=0.7), 0.6, "≥ 0.9: missed"),
        (Goal(most=0.75), 0.7, "≤ 0.75: met"),
        (Goal(most=0.75), 0.8, "≤ 0.75: missed"),
        (Goal(most=0.1, of_chance=True), 0.1, "≤ 0.1 from chance: met"),
        (Goal(most=0.1, of_chance=True), 0.4, "≤ 0.1 from chance: missed"),
    ],
)
def test_verdicts(goal, value, said):
    assert goal.verdict(Figure("p", "m", "w", "share", value, None, 1, 1, chance=0.2)) == said


def test_a_figure_without_a_goal_has_no_verdict():
    assert verdict(Figure("vae", "stills", "PSNR", "dB", 30.0, None, 1, 1)) == "≥ 30: met"
    assert "p: m: w" not in GOALS and verdict(Figure("p", "m", "w", "dB", 1.0, None, 1, 1)) == ""


def test_json_and_table_say_nothing_where_there_is_nothing():
    figure = Figure("vae", "stills", "PSNR", "dB", 29.126, None, 7, 1, chance=math.nan)
    assert json.loads(json.dumps(as_json([figure]), allow_nan=False))[0]["chance"] is None
    lines = markdown_table([figure], ["≥ 28: met"]).splitlines()
    assert len(lines) == 3 and len({len(line) for line in lines}) == 1
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells == ["vae", "stills", "PSNR", "29.13 dB", "–", "7", "1", "–", "–", "–", "≥ 28: met"]


def test_batches_have_one_size_and_the_filling_does_not_count():
    seen = []

    def twice(rows):
        seen.append(rows)
        return np.array(rows) * 2

    np.testing.assert_array_equal(mapped(twice, 5, 3), [0, 2, 4, 6, 8])
    assert seen == [[0, 1, 2], [3, 4, 4]]


def test_pictures_for_people():
    frames = np.full((3, 8, 8, 3), 200, np.uint8)
    sheet = frame_rows([("a", frames), ("b", frames[:2] // 2)], scale=3)
    assert (sheet == 200).all(-1).sum() == 3 * 24**2 and (sheet == 100).all(-1).sum() == 2 * 24**2
    tall, low = (Figure("p", "m", what, "loss", value, 0.0, 1, 1) for what, value in (("x", 2.0), ("y", 1.0)))
    colours, counts = np.unique(bar_chart("t", {"g": [tall, low]}).reshape(-1, 3), axis=0, return_counts=True)
    area = {tuple(int(c) for c in colour): int(n) for colour, n in zip(colours, counts, strict=True)}
    assert area[90, 130, 110] == pytest.approx(2 * area[190, 180, 160], rel=0.03)
