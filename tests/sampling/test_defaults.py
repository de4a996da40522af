"""The released models' settings."""

from __future__ import annotations

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.models.zoo import named
from stage_jax.sampling.defaults import DEFAULTS
from stage_jax.sampling.named import solver_named


@pytest.mark.parametrize("name", DEFAULTS)
def test_every_model_has_a_solver_that_exists(name: str):
    how = named(DEFAULTS, name)
    assert solver_named(how.solver, how.steps, how.shift).steps == how.steps
    assert how.frames % 4 == 1 and (how.boundary is None) == (not name.endswith("a14b"))
    if how.boundary is None:
        assert how.guidance[0] == how.guidance[1]


def test_settings_by_hand():
    """A line of the table, the shift at 480p, and how many of the A14B's steps its expert for high noise takes."""
    flf2v, i2v, t2v = (named(DEFAULTS, f"wan{n}") for n in ("2.1-flf2v-14b", "2.1-i2v-14b", "2.2-t2v-a14b"))
    assert (flf2v.steps, flf2v.shift, flf2v.guidance, flf2v.fps, flf2v.frames) == (50, 16.0, (5.0, 5.0), 16, 81)
    assert [i2v.shift_at(*size) for size in ((480, 832), (832, 480), (720, 1280))] == [3.0, 3.0, 5.0]
    assert flf2v.shift_at(480, 832) == 16.0
    timesteps = solver_named(t2v.solver, t2v.steps, t2v.shift).timesteps
    assert t2v.guidance == (3.0, 4.0) and np.sum(timesteps >= 1000 * t2v.boundary) == 26
    with pytest.raises(InputError, match="expected one of wan2.1-t2v-1.3b, "):
        named(DEFAULTS, "wan3")
