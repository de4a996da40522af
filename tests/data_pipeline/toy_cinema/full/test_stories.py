"""Stories of level full: of a seed, inside the picture, of one split only, with cuts that go on."""

from __future__ import annotations

import collections
import json

import numpy as np
import pytest

from data_pipeline.toy_cinema import world as lengths
from data_pipeline.toy_cinema.full import stories, world
from data_pipeline.toy_cinema.written import to_story
from stage_jax.errors import InputError

STORIES = [stories.random_story(seed) for seed in range(100)]
SHOTS = [(story, i, shot) for story in STORIES for i, shot in enumerate(story.shots)]


def test_a_seed_gives_the_same_story():
    assert stories.random_story(7) == STORIES[7] != STORIES[8]


def test_stories_have_the_promised_make_up():
    assert {len(story.shots) for story in STORIES} == set(range(3, 13))
    assert {len(story.characters) for story in STORIES} == {1, 2, 3}
    assert {len(story.places) for story in STORIES} == {1, 2, 3}
    for story in STORIES:
        assert {shot.place for shot in story.shots} == set(range(len(story.places)))
        n = len(story.characters)
        assert [shot.characters for shot in story.shots[:n]] == [(i,) for i in range(n)]
        for kind in ("name", "shape", "colour"):
            assert len({getattr(c, kind) for c in story.characters}) == len(story.characters)
        for kind in ("name", "sky", "ground", "prop"):
            assert len({getattr(p, kind) for p in story.places}) == len(story.places)


@pytest.mark.parametrize(("attribute", "options", "least"), [
    ("size", world.SIZES, 0.15), ("camera", world.CAMERAS, 0.1), ("place", (0, 1, 2), 0.1),
])  # fmt: skip
def test_nothing_is_rare(attribute, options, least):
    counts = collections.Counter(getattr(shot, attribute) for *_, shot in SHOTS)
    assert set(counts) == set(options)
    assert min(counts.values()) > least * len(SHOTS)


def test_actions_together_and_going_on_are_common():
    counts = collections.Counter(action for *_, shot in SHOTS for action in shot.actions)
    assert set(counts) == set(world.ACTIONS) and min(counts.values()) > 0.1 * len(SHOTS)
    assert 0.1 < np.mean([len(shot.characters) == 2 for *_, shot in SHOTS]) < 0.4
    assert 0.1 < np.mean([shot.goes_on for *_, shot in SHOTS]) < 0.4


def test_everybody_stays_inside_and_apart_between_the_frames_looked_at():
    for *_, shot in SHOTS:
        for phase in (0.0, 0.06, 0.44, 0.69, 1.0):
            figures = world.shown_figures(shot, float(phase))
            for x, y, side in figures:
                assert side / 2 < x < lengths.SIDE - side / 2 and 1.45 * side < y < lengths.SIDE
            if len(figures) == 2:
                assert abs(figures[0][0] - figures[1][0]) > 1.1 * figures[0][2]


def test_sides_are_kept_for_a_whole_story():
    for story in STORIES:
        order = {}
        for shot in story.shots:
            if len(shot.characters) == 2:
                left, right = (c for _, c in sorted(zip(shot.x, shot.characters, strict=True)))
                assert order.setdefault(frozenset((left, right)), left) == left


def test_what_goes_on_keeps_its_way_and_its_height_over_the_cut():
    seen = set()
    for story, i, shot in SHOTS:
        if shot.goes_on:
            before = story.shots[i - 1]
            seen.add(shot.actions[0])
            assert (before.place, before.characters[0]) == (shot.place, shot.characters[0])
            if shot.actions[0] == world.LAND:
                height = world.positions(before, 1.0)[0][1]
                assert before.actions[0] == world.JUMP and height < world.FEET - 4
                assert world.positions(shot, 0.0)[0][1] == pytest.approx(height)
                assert world.positions(shot, 1.0)[0][1] == pytest.approx(world.FEET)
            else:
                assert before.actions[0] == shot.actions[0]
    assert seen == {world.WALK_LEFT, world.WALK_RIGHT, world.LAND}


def test_backwards_changes_places_of_start_and_end():
    for *_, shot in SHOTS:
        if shot.goes_on:
            broken = world.backwards(shot)
            assert stories.fits(broken)
            ends = [world.positions(shot, phase)[0] for phase in (0.0, 1.0)]
            assert [world.positions(broken, phase)[0] for phase in (1.0, 0.0)] == [pytest.approx(end) for end in ends]


def test_camera_moves_start_alike_and_go_where_they_say():
    for size in world.SIZES:
        start = world.view(size, world.STATIC, 0.0)
        ends = {camera: world.view(size, camera, 1.0) for camera in world.CAMERAS}
        assert all(world.view(size, camera, 0.0) == start for camera in world.CAMERAS)
        assert ends[world.STATIC] == start
        assert ends[world.PAN_LEFT].x < start.x < ends[world.PAN_RIGHT].x
        assert ends[world.TILT_UP].y < start.y < ends[world.TILT_DOWN].y
        assert ends[world.ZOOM_OUT].zoom < start.zoom < ends[world.ZOOM_IN].zoom
        for camera in world.CAMERAS:
            end = ends[camera]
            assert end.on_stage(*end.shown(12.5, 40.0)) == pytest.approx((12.5, 40.0))


def test_no_two_splits_can_share_a_cast_at_its_places():
    for split in lengths.SPLITS:
        for seed in range(8):
            story = stories.random_story(seed, split)
            assert (story.split, stories.split_of(story.characters, story.places)) == (split, split)
    casts = {(story.characters, story.places) for story in STORIES}
    assert len(casts) == len(STORIES)


def test_truth_is_json_and_leads_back():
    for story in STORIES[:20]:
        assert world.from_truth(json.loads(json.dumps(story.truth()))) == story
    for broken in ({"level": "full"}, {}, {**STORIES[0].truth(), "level": "easy"}, {**STORIES[0].truth(), "mood": 1}):
        with pytest.raises(InputError, match="truth of a toy story"):
            world.from_truth(broken)


def test_the_written_story_has_size_movement_and_scenes():
    for toy in STORIES[:20]:
        shots = list(to_story(toy).shots())
        assert [(shot.size, shot.movement) for _, shot in shots] == [(s.size, s.camera) for s in toy.shots]
        assert [scene.location for scene, _ in shots] == [toy.places[s.place].name.replace(" ", "_") for s in toy.shots]


def test_interior_frames_are_inside_and_of_the_seed():
    chosen = [stories.interior_frames(story, 0) for story in STORIES]
    assert all(0 < a < b < lengths.FRAMES - 1 for a, b in chosen) and len(set(chosen)) > 30
    assert stories.interior_frames(STORIES[0], 0) == chosen[0]
