"""Pictures of any shape are covered and cropped, or shown whole."""

from __future__ import annotations

import numpy as np
import pytest

from stage_jax.story.pictures import fit_picture, whole_picture


def test_a_picture_of_the_right_size_is_left_alone():
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    np.testing.assert_array_equal(fit_picture(picture, 64), picture)


@pytest.mark.parametrize(("shape", "crop"), [((90, 160), np.s_[:, 35:125]), ((160, 90), np.s_[35:125, :])])
def test_the_centre_is_cut_out_without_distortion(shape, crop):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    picture = np.stack([rows, columns, 0 * rows], -1).astype(np.uint8)
    fitted = fit_picture(picture, 45).astype(float)
    assert fitted.shape == (45, 45, 3)
    expected = picture[crop].astype(float).reshape(45, 2, 45, 2, 3).mean((1, 3))
    assert np.abs(fitted - expected)[2:-2, 2:-2].max() <= 1  # ramps survive resizing, away from the filter's edges


def test_height_and_width_may_differ_and_small_pictures_grow():
    assert fit_picture(np.full((10, 12, 3), 77, np.uint8), (32, 64)).shape == (32, 64, 3)
    assert (fit_picture(np.full((10, 12, 3), 77, np.uint8), (32, 64)) == 77).all()


@pytest.mark.parametrize(("shape", "inside"), [((90, 40), np.s_[:, 20:40]), ((40, 120), np.s_[12:32, :])])
def test_all_of_a_portrait_is_shown_before_its_own_ground(shape, inside):
    """A picture of two colours with a rim of a third, upright or wide, in a frame of 45 x 60 pixels."""
    picture = np.full((*shape, 3), (10, 200, 90), np.uint8)
    picture[4:-4, 4:-4] = (250, 0, 0)
    picture[4 : shape[0] // 2, 4:-4] = (0, 0, 250)
    whole = whole_picture(picture, (45, 60))
    assert whole.shape == (45, 60, 3)
    np.testing.assert_array_equal(whole[inside], fit_picture(picture, whole[inside].shape[:2]))
    bars = np.ones((45, 60), bool)
    bars[inside] = False
    assert bars.any() and (whole[bars] == (10, 200, 90)).all()
    shares = [(np.abs(whole[inside].astype(int) - colour).max(-1) < 20).mean() for colour in ((0, 0, 250), (250, 0, 0))]
    expected = [(np.abs(picture.astype(int) - colour).max(-1) == 0).mean() for colour in ((0, 0, 250), (250, 0, 0))]
    assert np.abs(np.subtract(shares, expected)).max() < 0.12  # head and feet, in their proportions


def test_whole_pictures_of_any_shape():
    picture = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    np.testing.assert_array_equal(whole_picture(picture, (12, 16)), picture)
    np.testing.assert_array_equal(whole_picture(picture, (24, 32)), fit_picture(picture, (24, 32)))  # nothing stays free
    for shape in ((1, 1), (1, 5000), (5000, 1), (7, 3)):
        assert (whole_picture(np.full((*shape, 3), 77, np.uint8), (32, 64)) == 77).all()
