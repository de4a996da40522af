"""Pictures of level full: exact at any size, with masks, references, and colours that can be told apart."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data_pipeline.toy_cinema import figures
from data_pipeline.toy_cinema.full import render, stage, stories, world
from data_pipeline.toy_cinema.matching import halved

STORIES = [stories.random_story(seed) for seed in range(12)]


def distance(a, b) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))


def test_a_clip_starts_and_ends_with_the_pair_and_is_the_same_every_time():
    story = STORIES[1]
    for i, shot in enumerate(story.shots[:3]):
        clip = render.render_clip(story, i)
        assert clip.shape == (17, 64, 64, 3) and clip.dtype == np.uint8
        np.testing.assert_array_equal(clip[[0, -1]], render.render_pair(story, shot))
        np.testing.assert_array_equal(clip[8], render.render_clip(story, i)[8])


@pytest.mark.parametrize("size", [48, 96, 128])
def test_other_sizes_show_the_same_picture(size):
    story, shot = STORIES[1], STORIES[1].shots[2]
    small, other = render.render_shot(story, shot, 0.5), render.render_shot(story, shot, 0.5, size)
    assert other.shape == (size, size, 3)
    np.testing.assert_allclose(other.mean((0, 1)), small.mean((0, 1)), atol=2.0)
    if size == 128:
        assert np.abs(halved(other.astype(np.float32)) - small).mean() < 1.5


def test_role_masks_say_who_is_where():
    for story in STORIES:
        for i, shot in enumerate(story.shots):
            mask, picture = render.role_mask(story, i, 1.0), render.render_shot(story, shot, 1.0)
            assert set(np.unique(mask)) == {0, *(1 + c for c in shot.characters)}
            empty = render.render(story.places[shot.place], world.view(shot.size, shot.camera, 1.0))
            apart = np.abs(picture.astype(int) - empty).max(-1)
            assert (apart[mask > 0] > 30).mean() > 0.9
            grown = np.pad(mask > 0, 1)
            near = np.any([grown[y : y + 64, x : x + 64] for y in range(3) for x in range(3)], axis=0)
            assert apart[~near].max() <= 1
            for c, (x, y, side) in zip(shot.characters, world.shown_figures(shot, 1.0), strict=True):
                rows, columns = np.nonzero(mask == 1 + c)
                assert abs(columns.mean() - x) < 0.15 * side and y - 1.6 * side < rows.mean() < y


def test_references_show_one_figure_whole_before_grey():
    looks = {tuple(getattr(c, a) for a in ("shape", "colour", "hat")): c for story in STORIES for c in story.characters}
    pictures = [render.reference(character) for character in looks.values()]
    for picture in pictures:
        border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
        assert (border == render.REFERENCE_GREY).all()
        assert (picture != np.uint8(render.REFERENCE_GREY)).any(-1).mean() > 0.15
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)
    assert render.reference(STORIES[0].characters[0], 32).shape == (32, 32, 3)


def test_every_sky_ground_prop_and_camera_move_can_be_seen():
    views = [world.view(size, camera, 1.0) for size in world.SIZES for camera in world.CAMERAS]
    places = [world.FullPlace("", *kinds) for kinds in itertools.product(world.SKIES, world.GROUNDS, world.PROPS)]
    assert set(stage.SKIES) == set(world.SKIES) and set(stage.GROUNDS) == set(world.GROUNDS)
    for place in places[::29]:
        pictures = [render.render(place, view).astype(np.float32) for view in views]
        for a, b in itertools.combinations(pictures, 2):
            assert np.abs(a - b).mean() > 2
    shown = [render.render(place, views[0]).astype(np.float32) for place in places]
    for a, b in itertools.combinations(shown[::5], 2):
        assert np.abs(a - b).mean() > 3


def test_bodies_and_hats_stand_out():
    looks = [look.colour for look in (*stage.SKIES.values(), *stage.GROUNDS.values())]
    for name, look in itertools.product(world.COLOURS, looks):
        assert distance(figures.COLOURS[name], look) > 70
    for hat, look in itertools.product(world.HATS, (look.colour for look in stage.SKIES.values())):
        assert max(distance(paint, look) for paint in figures.HATS[hat]) > 140
    for a, b in itertools.combinations(world.COLOURS, 2):
        assert distance(figures.COLOURS[a], figures.COLOURS[b]) > 75
    for a, b in itertools.combinations(world.HATS, 2):
        assert distance(figures.HATS[a][0], figures.HATS[b][0]) > 100
