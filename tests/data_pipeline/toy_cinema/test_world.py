"""Toy stories: drawn from a seed, with figures that stay inside the picture and apart."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_pipeline.toy_cinema import world
from data_pipeline.toy_cinema.written import to_story
from stage_jax.errors import InputError

STORIES = [world.random_story(seed) for seed in range(300)]


def test_a_seed_gives_the_same_story_and_splits_differ():
    assert world.random_story(7) == world.random_story(7)
    assert world.random_story(7) != world.random_story(8)
    looks = {split: world.random_story(7, split=split).shots for split in world.SPLITS}
    assert len(set(looks.values())) == len(world.SPLITS)


def test_stories_have_the_promised_make_up():
    for story in STORIES:
        assert 3 <= len(story.shots) <= 8
        assert {shot.place for shot in story.shots} == set(range(len(story.places)))
        for i in range(len(story.characters)):
            first = next(shot for shot in story.shots if i in shot.characters)
            assert first.characters == (i,)
        if len(story.characters) == 2:
            a, b = story.characters
            assert a.name != b.name and a.colour != b.colour and a.shape != b.shape
    shots = [shot for story in STORIES if len(story.characters) == 2 for shot in story.shots]
    assert 0.25 < np.mean([len(shot.characters) == 2 for shot in shots]) < 0.35


def test_names_say_nothing_about_looks():
    pairs = {(c.name, c.colour) for story in STORIES for c in story.characters}
    assert len(pairs) > 0.9 * len(world.NAMES) * len(world.EASY.colours)
    places = {(p.name, p.kind) for story in STORIES for p in story.places}
    assert len(places) > 0.9 * len(world.PLACE_NAMES) * len(world.EASY.places)


@pytest.mark.parametrize("phase", [0.0, 0.3, 1.0])
def test_bodies_stay_inside_and_apart(phase):
    for story in STORIES:
        for shot in story.shots:
            half = 0.52 * world.body_side(shot.size, len(shot.characters))  # a triangle is a little wider than its side
            spots = world.positions(shot, phase)
            for x, y in spots:
                assert half + 0.5 <= x <= world.SIDE - half - 0.5
                assert y <= world.SIDE - 2 and y - 1.4 * world.body_side(shot.size, len(spots)) > 1
            if len(spots) == 2:
                assert abs(spots[0][0] - spots[1][0]) > 2 * half + 1


def test_sides_are_kept_for_a_whole_story():
    for story in STORIES:
        lefts = {min(zip(s.x, s.characters, strict=True))[1] for s in story.shots if len(s.characters) == 2}
        assert len(lefts) <= 1


def test_motion_rests_at_both_ends_and_can_be_told_from_the_pair():
    assert world.ease(0) == 0 and world.ease(1) == 1
    assert world.ease(1e-3) < 1e-5 and 1 - world.ease(1 - 1e-3) < 1e-5
    for story in STORIES:
        for shot in story.shots:
            (x0, y0), (x1, y1) = world.positions(shot, 0)[0], world.positions(shot, 1)[0]
            if shot.action == world.JUMP:
                assert x0 == x1 and 10 <= y0 - y1 <= 14
            else:
                assert y0 == y1 and 10 <= (x1 - x0) * (1 if shot.action == world.WALK_RIGHT else -1) <= 22


def test_truth_is_json_and_leads_back():
    for story in STORIES[:20]:
        assert world.from_truth(json.loads(json.dumps(story.truth()))) == story
    with pytest.raises(InputError, match="truth of a toy story"):
        world.from_truth({"seed": 1})


def test_interior_frames_are_inside_distinct_and_of_the_seed():
    chosen = [world.interior_frames(story, 0) for story in STORIES]
    assert all(0 < a < b < world.FRAMES - 1 for a, b in chosen)
    assert len(set(chosen)) > 50
    assert world.interior_frames(STORIES[0], 0) == chosen[0]


def test_scenes_follow_the_places():
    for toy in STORIES[:50]:
        story = to_story(toy)
        flat = list(story.shots())
        assert len(flat) == len(toy.shots)
        assert story.shot_name(*flat[0]) == "SC01_SH010"
        for (scene, shot), true in zip(flat, toy.shots, strict=True):
            assert scene.heading == f"EXT. {toy.places[true.place].name.upper()}"
            assert shot.characters == tuple(toy.characters[i].name for i in true.characters)
        changes = sum(a.place != b.place for a, b in zip(toy.shots, toy.shots[1:], strict=False))
        assert len(story.scenes) == 1 + changes
