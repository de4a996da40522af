"""Pictures of the toy world."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from data_pipeline.toy_cinema import figures, render, world

LEVEL = world.EASY


def distance(a, b) -> float:
    return float(np.linalg.norm(np.subtract(a, b)))


def test_a_clip_starts_and_ends_with_the_pair_and_is_the_same_every_time():
    story = world.random_story(3)
    for i in range(len(story.shots)):
        clip = render.render_clip(story, i)
        assert clip.shape == (17, 64, 64, 3) and clip.dtype == np.uint8
        np.testing.assert_array_equal(clip[0], render.render_frame(story, i, 0.0))
        np.testing.assert_array_equal(clip[-1], render.render_frame(story, i, 1.0))
        np.testing.assert_array_equal(clip, render.render_clip(story, i))
        assert (clip[0] != clip[-1]).any()


@pytest.mark.parametrize("size", [48, 96, 256])
def test_other_sizes_show_the_same_picture(size):
    story = world.random_story(3)
    small, other = render.render_frame(story, 0, 0.5), render.render_frame(story, 0, 0.5, size)
    assert other.shape == (size, size, 3)
    np.testing.assert_allclose(other.mean((0, 1)), small.mean((0, 1)), atol=2.0)


@pytest.mark.parametrize("shot_size", LEVEL.sizes)
@pytest.mark.parametrize(("shape", "hat"), list(itertools.product(LEVEL.shapes, LEVEL.hats)))
def test_whole_figures_fit_into_the_picture_with_large_hats(shot_size, shape, hat):
    side = world.body_side(shot_size, 1)
    bare = side * {"circle": 1.0, "square": 0.94, "triangle": 1.04}[shape]
    for x, rise in itertools.product((19.0, 45.0), (0.0, 12.0)):  # the outermost positions of close shots
        figure = figures.Figure(shape, "red", hat, x, world.feet(shot_size) - rise, side)
        (mask,) = render.figure_masks(render.SceneSpec("day", shot_size, (figure,)))
        assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
        head = mask[: int(figure.y - 0.92 * side)]
        assert head.any(0).sum() >= 10  # a hat is at least 10 pixels wide
        assert np.ptp(np.nonzero(mask)[0]) > bare


def test_two_figures_never_touch():
    for seed in range(60):
        story = world.random_story(seed)
        for i, shot in enumerate(story.shots):
            if len(shot.characters) == 2:
                for phase in (0.0, 0.5, 1.0):
                    masks = render.figure_masks(render.scene_spec(story, i, phase))
                    assert not (masks[0] & masks[1]).any()


def test_bodies_and_hats_stand_out_from_every_place():
    looks = [render.PLACES[kind] for kind in LEVEL.places]
    for colour, look in itertools.product(LEVEL.colours, looks):
        assert distance(figures.COLOURS[colour], look.sky) > 100
        assert distance(figures.COLOURS[colour], look.ground) > 100
    for hat, look in itertools.product(LEVEL.hats, looks):
        fill, outline = figures.HATS[hat]
        assert max(distance(fill, look.sky), distance(outline, look.sky)) > 140
        assert distance(fill, look.sky) > 80
        assert distance(fill, outline) > 150
    for a, b in itertools.combinations(LEVEL.colours, 2):
        assert distance(figures.COLOURS[a], figures.COLOURS[b]) > 110
    for a, b in itertools.combinations(LEVEL.hats, 2):
        assert distance(figures.HATS[a][0], figures.HATS[b][0]) > 110
