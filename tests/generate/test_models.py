"""How a part of a model folder likes to be sampled, and weights that do not fit."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.generate.models import CLIP_SAMPLING, PAIR_SAMPLING, read_denoiser
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import flat_params
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


WRONG = [
    ("steps", 0, "a whole number from 1 to 1000"),
    ("steps", 1001, "a whole number from 1 to 1000"),
    ("steps", True, "a whole number from 1 to 1000"),
    ("steps", 2.5, "a whole number from 1 to 1000"),
    ("shift", 0, "a number above 0"),
    ("shift", "3", "a number above 0"),
    ("guidance", -0.5, "a number, 0 or more"),
    ("guidance", float("nan"), "a number, 0 or more"),
    ("guidance", None, "a number, 0 or more"),
    ("size", [16], "height and width, multiples of 8"),  # the VAE's stride of 4, in patches of 2
    ("size", [16, 20], "height and width, multiples of 8"),
    ("size", [0, 16], "height and width, multiples of 8"),
    ("size", 16, "height and width, multiples of 8"),
    ("frames", 16, "1 + a multiple of 4"),
    ("frames", -3, "1 + a multiple of 4"),
    ("frames", 5.0, "1 + a multiple of 4"),
]


@pytest.mark.parametrize(("name", "value", "expected"), WRONG)
def test_sampling_that_cannot_be(tmp_path: Path, folder: Path, name: str, value: object, expected: str):
    """One line that says where. No weights are read for it."""
    manifest = json.loads((folder / "model.json").read_text())
    manifest["parts"]["dit"]["sampling"][name] = value
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError) as caught:
        read_denoiser(tmp_path, "dit", CLIP_SAMPLING)
    said = f"{tmp_path / 'model.json'}: parts.dit.sampling.{name}: found {value!r}, expected {expected}"
    assert str(caught.value) == said


def test_without_a_vae_sizes_are_held_against_wans(tmp_path: Path, folder: Path):
    manifest = json.loads((folder / "model.json").read_text())
    del manifest["parts"]["vae"]
    manifest["parts"]["step2"]["sampling"] = SAMPLING | {"size": [24, 24]}
    (tmp_path / "model.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="multiples of 16"):
        read_denoiser(tmp_path, "step2", PAIR_SAMPLING)


@pytest.mark.parametrize("odd", ["missing", "misshapen", "one more"])
def test_layers_that_cannot_be_stacked_are_named(tmp_path: Path, folder: Path, odd: str):
    config, params = read_part(folder, "dit", DiTConfig)
    config = dataclasses.replace(config, layers=2, scan_layers=True)
    first = {name: array for name, array in params.items() if name.startswith("blocks.0.")}
    params |= {name.replace(".0.", ".1.", 1): array for name, array in first.items()}
    sampling = SAMPLING | {"frames": 5}
    write_part(tmp_path, "dit", config, params, sampling=sampling)
    stacked = read_denoiser(tmp_path, "dit", CLIP_SAMPLING)
    name = sorted(first)[0]
    np.testing.assert_array_equal(flat_params(stacked.dit)[name.replace(".0.", ".", 1)][1], params[name])

    wrong = name.replace(".0.", ".0." if odd == "missing" else ".1." if odd == "misshapen" else ".2.", 1)
    changed = params | {wrong: params[name][..., :1]}
    if odd == "missing":
        del changed[wrong]
    write_part(tmp_path, "dit", config, changed, sampling=sampling)
    with pytest.raises(InputError, match=rf"weights that do not fit the config in model.json: {wrong}$"):
        read_denoiser(tmp_path, "dit", CLIP_SAMPLING)
