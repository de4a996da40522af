"""Pictures of any shape are covered and cropped."""

from __future__ import annotations

import numpy as np
import pytest

from stage_jax.story.pictures import fit_picture


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
