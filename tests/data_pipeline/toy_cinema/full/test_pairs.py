"""Preference pairs: the same shot, drawn as it should be and worse."""

from __future__ import annotations

import numpy as np
import pytest

from data_pipeline.toy_cinema.full import pairs, render, stories, world

STORIES = [stories.random_story(seed) for seed in range(12)]
FOUND = [(story, preference) for story in STORIES for preference in pairs.preferences(story, 32)]


def test_all_kinds_occur_and_the_chosen_pair_is_the_true_one():
    assert {preference.kind for _, preference in FOUND} == set(pairs.KINDS)
    for story, preference in FOUND[::5]:
        np.testing.assert_array_equal(preference.chosen, render.render_pair(story, story.shots[preference.shot], 32))


def test_interior_frames_are_of_the_same_clip_and_differ_from_the_pair():
    for story, preference in FOUND[::4]:
        if preference.kind == pairs.INTERIOR:
            clip = render.render_clip(story, preference.shot, size=32)
            a, b = stories.interior_frames(story, preference.shot)
            np.testing.assert_array_equal(preference.rejected, clip[[a, b]])
            assert (preference.rejected != preference.chosen).any()


def test_shots_in_which_nothing_moves_have_no_interior_pair():
    still = [(s, i) for s in STORIES for i, shot in enumerate(s.shots)
             if shot.camera == world.STATIC and set(shot.actions) == {world.STAND}]
    assert still
    for story, i in still:
        assert not pairs.moves(story, i)
        assert not any(p.shot == i for s, p in FOUND if s is story)


def test_broken_cuts_start_where_the_action_should_have_ended():
    seen = set()
    for story in STORIES:
        for i, kind in pairs.broken_cuts(story):
            seen.add(kind)
            shot, broken = story.shots[i], world.backwards(story.shots[i])
            assert (broken.camera, broken.size, broken.place) == (shot.camera, shot.size, shot.place)
            earlier, kept = world.positions(story.shots[i - 1], 1.0)[0], world.positions(shot, 0.0)[0]
            wrong = world.positions(broken, 0.0)[0]
            if kind == pairs.ACTION:
                assert kept[1] == pytest.approx(earlier[1]) and wrong[1] == world.FEET > earlier[1] + 4
            else:
                way = world.WAYS[story.shots[i - 1].actions[0]][0]
                assert world.WAYS[shot.actions[0]][0] == way == -world.WAYS[broken.actions[0]][0]
    assert seen == {pairs.DIRECTION, pairs.ACTION}
