"""The tool that runs one forward pass: what it cannot run is said in one line, before anything is compiled."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import pytest

from stage_jax.models.dit import DiTConfig
from stage_jax.models.zoo import DITS
from stage_jax.weights.folder import write_part
from tests.tools import load_tool

ARRAYS = {"blocks.0.modulation": jnp.zeros((1, 6, 32)), "head.modulation": jnp.zeros((1, 2, 32))}


@pytest.fixture(scope="module")
def program():
    return load_tool("run_forward")


@pytest.mark.parametrize(
    ("config", "flags", "message"),
    [
        (DITS["wan2.1-t2v-tiny"], ["--height", "488"], "--height: found 488, expected a multiple of 16"),
        (DITS["wan2.1-t2v-tiny"], ["--width", "833"], "--width: found 833, expected a multiple of 16"),
        (DITS["wan2.2-ti2v-tiny"], ["--width", "848"], "--width: found 848, expected a multiple of 32"),
        (DITS["wan2.1-t2v-tiny"], [], "found 1 layers, expected 2, the config in model.json says"),
        (replace(DITS["wan2.1-t2v-tiny"], layers=1), [], "do not fit the config in model.json: "),
    ],
)
def test_refusals(program, tmp_path: Path, config: DiTConfig, flags: list[str], message: str, capsys: pytest.CaptureFixture):
    write_part(tmp_path, "dit", config, ARRAYS)
    assert program.main([str(tmp_path), *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("run_forward: ") and message in said and said.count("\n") == 1
