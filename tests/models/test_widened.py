"""A text-to-video DiT with more input channels, which start at zero."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from stage_jax.models.patchify import widened
from stage_jax.models.stacking import flat_params, with_params
from tests.models.dits import TINY, abstract, random_model, random_sequence, run

T2V = replace(TINY, layers=1, scan_layers=False, in_channels=16, out_channels=16)
FLF2V = replace(T2V, in_channels=36)


def test_widened_is_the_narrow_model():
    """The same outputs, bit for bit, whatever mask and given pictures are in the new channels."""
    model, wide = random_model(T2V), random_sequence(FLF2V)
    narrow = replace(wide, segments=(replace(wide.segments[0], latent=wide.segments[0].latent[:, :16]),))
    expected = np.asarray(run(model, narrow).outputs[0])
    params = widened(flat_params(model), 36)
    found = np.asarray(run(with_params(abstract(FLF2V), params), wide).outputs[0])
    np.testing.assert_array_equal(found, expected)
    assert params["patch_embedding.base.kernel"].shape == (36, 1, 2, 2, 24) and expected.std() > 0.1
    with pytest.raises(ValueError, match="of 36 channels cannot be widened to 16"):
        widened(params, 16)
