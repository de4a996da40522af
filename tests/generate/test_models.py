"""How a part of a model folder likes to be sampled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.generate.models import PAIR_SAMPLING, read_denoiser
from stage_jax.models.dit import DiTConfig
from stage_jax.sampling.named import solver_named
from stage_jax.weights.folder import read_part, write_part
from tests.generate.models import SAMPLING, write_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("models") / "model")


def test_solvers(folder: Path):
    """Euler's where model.json is silent, else the one that it names, with its steps or the caller's; an unknown one is refused
    in one line."""
    config, params = read_part(folder, "step2", DiTConfig)
    for entry, name in (({}, "euler"), ({"solver": "unipc"}, "unipc"), ({"solver": "dpm++"}, "dpm++")):
        write_part(folder, "step2", config, params, sampling=SAMPLING | entry)
        step2 = read_denoiser(folder, "step2", PAIR_SAMPLING)
        for steps in (None, 5):
            expected = solver_named(name, steps or SAMPLING["steps"], SAMPLING["shift"])
            np.testing.assert_array_equal(step2.solver(steps).corrector, expected.corrector)
            np.testing.assert_array_equal(step2.solver(steps).timesteps, expected.timesteps)
    for wrong in ("heun", ["euler"]):
        write_part(folder, "step2", config, params, sampling=SAMPLING | {"solver": wrong})
        expected = r"model.json: parts.step2.sampling.solver: found .*, expected one of euler, unipc"
        with pytest.raises(InputError, match=expected) as caught:
            read_denoiser(folder, "step2", PAIR_SAMPLING)
        assert "\n" not in str(caught.value)
