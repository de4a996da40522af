"""The probe of level full reads pictures, not what it is told, and knows what is no frame of the shot."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from data_pipeline.toy_cinema.full import probe, render, scores, stories, world
from data_pipeline.toy_cinema.scores import POSITION

GOING = 2
WHOLE = next(s for s in map(stories.random_story, range(999)) if len(s.characters) == 2 and s.shots[GOING].goes_on)
STORY = dataclasses.replace(WHOLE, shots=WHOLE.shots[: GOING + 1])


def verdicts(pairs: np.ndarray, shots: list[int]) -> set[str]:
    readings = [(probe.read_pair(pairs[i], STORY.shots[i]), i) for i in shots]
    return {scores.verdict(reading, STORY, i) for pair, i in readings for reading in pair}


def test_true_pairs_read_as_they_are():
    found = scores.story_outcomes(STORY, scores.true_pairs(STORY))
    summary = scores.summary(found)
    assert set(summary) == set(scores.ATTRIBUTES)
    assert all(score.value == 1.0 for name, score in summary.items() if name != POSITION)
    assert summary[POSITION].value < 0.3 and math.isnan(summary[POSITION].chance)
    assert summary["camera"].chance == pytest.approx(1 / 7)
    assert {o.attribute for o in found if o.recalled and not o.shot} == {POSITION}
    assert {o.truth for o in found if o.attribute == "cut"} == {scores.KEPT}


def test_what_is_no_frame_of_the_shot_is_known():
    alone = [i for i, shot in enumerate(STORY.shots) if len(shot.characters) == 1][:1]
    assert verdicts(scores.true_pairs(STORY), alone) == {scores.TRUE}
    turned = dataclasses.replace(STORY, characters=(*STORY.characters[1:], STORY.characters[0]))
    assert verdicts(scores.true_pairs(turned), alone) == {scores.SWAPPED}
    other = scores.true_pairs(next(s for s in map(stories.random_story, range(100, 200)) if len(s.shots) >= len(STORY.shots)))
    assert verdicts(other, alone) == {scores.OTHER}
    noise = np.random.default_rng(0).integers(0, 256, (len(STORY.shots), 2, 64, 64, 3), np.uint8)
    assert verdicts(noise, alone) == {scores.NOISE}


def test_two_figures_that_changed_sides_are_known():
    story, i = next(
        (s, i) for s in map(stories.random_story, range(99)) for i, shot in enumerate(s.shots) if len(shot.characters) == 2
    )
    a, b = story.shots[i].characters
    cast = list(story.characters)
    cast[a], cast[b] = cast[b], cast[a]
    pair = render.render_pair(dataclasses.replace(story, characters=tuple(cast)), story.shots[i])
    readings = probe.read_pair(pair, story.shots[i])
    assert {scores.verdict(reading, story, i) for reading in readings} == {scores.SWAPPED}


def test_camera_scale_and_motion_are_read_though_others_were_asked_for():
    shot = next(s for s in STORY.shots if len(s.characters) == 1)
    x = {world.WALK_LEFT: 40.0, world.WALK_RIGHT: 24.0}
    for camera, action, size in (
        (world.PAN_LEFT, world.WALK_RIGHT, world.WIDE),
        (world.ZOOM_OUT, world.WALK_LEFT, world.MEDIUM),
        (world.TILT_DOWN, world.JUMP, world.WIDE),
        (world.STATIC, world.STAND, world.WIDE),
    ):
        asked = dataclasses.replace(shot, size=size, camera=world.STATIC, actions=(world.STAND,), x=(32.0,), travel=(0.0,))
        drawn = dataclasses.replace(asked, camera=camera, actions=(action,), x=(x.get(action, 32.0),), travel=(10.0,))
        readings = probe.read_pair(render.render_pair(STORY, drawn), asked)
        assert readings[1].camera == camera
        assert probe.read_actions(*readings, size) == (action,)
    large = dataclasses.replace(asked, size=world.CLOSE)
    (figure,) = render.shot_figures(large, STORY.characters, 0.0)
    picture = render.render(STORY.places[asked.place], world.view(world.WIDE, world.STATIC, 0.0), (figure,))
    assert probe.read_frame(picture, asked, 0.0).figures[0].size == world.CLOSE


def test_broken_cuts_are_told_from_kept_ones():
    before, shot = STORY.shots[GOING - 1], STORY.shots[GOING]
    earlier = probe.read_actions(*probe.read_pair(render.render_pair(STORY, before), before), before.size)[0]
    for drawn, kept in ((shot, True), (world.backwards(shot), False)):
        now = probe.read_actions(*probe.read_pair(render.render_pair(STORY, drawn), shot), shot.size)[0]
        assert probe.cut_is_kept(earlier, now) is kept


def test_every_figure_stands_beside_its_chance_and_ceiling():
    found = scores.story_outcomes(STORY, scores.true_pairs(STORY)[:, ::-1])  # end and start changed places
    table = scores.score_table(scores.summary(found), scores.ceiling([STORY]))
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    assert [row[0] for row in rows] == list(scores.ATTRIBUTES)
    motion = next(row for row in rows if row[0] == "motion")
    assert float(motion[2]) < 0.5 and motion[3:] == ["0.200", "1.000"]
