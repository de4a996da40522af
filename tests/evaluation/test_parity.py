"""Parity with the reference: the project's goldens pass, and what should not pass does not."""

from __future__ import annotations

import dataclasses
import functools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.evaluation import golden_configs
from stage_jax.evaluation.goldens import TOLERANCE, Golden, draw, largest_difference, read_golden, relative_error
from stage_jax.evaluation.parity import compare
from stage_jax.models.clip import CLIPConfig
from tests.goldens import FOLDER

NAMES = sorted(folder.name for folder in FOLDER.iterdir())


@pytest.mark.parametrize("name", NAMES)
def test_golden(name: str):
    found = compare(read_golden(FOLDER / name))
    assert found.passed and 0 < found.relative <= (5e-6 if name == "clip_vision" else TOLERANCE)


def test_every_kind_is_there():
    """The family of the DiT, the samplers, both VAEs and both encoders."""
    dits = {"dit_t2v", "dit_i2v", "dit_flf2v", "dit_ti2v_2.2"}
    assert dits | {"samplers", "umt5", "vae", "vae_2.2", "clip_vision"} <= set(NAMES)


def altered(golden: Golden, name: str) -> Golden:
    """With one weight a little off."""
    return dataclasses.replace(golden, weights=golden.weights | {name: golden.weights[name] * 1.001})


@pytest.mark.parametrize(
    ("name", "weight"),
    [("dit_flf2v", "img_emb.emb_pos"), ("umt5", "blocks.1.attn.k.weight"), ("clip_vision", "transformer.1.mlp.0.bias")],
)
def test_a_weight_that_is_off_is_seen(name: str, weight: str):
    assert not compare(altered(read_golden(FOLDER / name), weight)).passed


def test_another_epsilon_is_seen(monkeypatch: pytest.MonkeyPatch):
    """The DiT's 1e-6 in the norms of CLIP would pass where the others pass."""
    monkeypatch.setattr(golden_configs, "CLIPConfig", functools.partial(CLIPConfig, eps=1e-6))
    found = compare(read_golden(FOLDER / "clip_vision"))
    assert not found.passed and found.relative < TOLERANCE


def test_a_sampler_that_is_off_is_seen():
    golden = read_golden(FOLDER / "samplers")
    off = dataclasses.replace(golden, io=golden.io | {"A": golden.io["A"] * 1.001})
    assert not compare(off).passed


def test_weights_of_a_file_go_through_the_reader(tmp_path: Path):
    """A golden that brings its weights: those are taken, not drawn ones."""
    folder = tmp_path / "umt5"
    shutil.copytree(FOLDER / "umt5", folder)
    config = json.loads((folder / "config.json").read_text())
    config["weight_seed"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    assert not compare(read_golden(folder)).passed
    drawn = {name: draw(name, tuple(shape), config["weight_seed"] - 1) for name, shape in config["weights"].items()}
    save_file(drawn, folder / "weights.safetensors")
    assert compare(read_golden(folder)).passed


def test_a_link_to_nowhere_is_no_reason_to_draw(tmp_path: Path):
    shutil.copytree(FOLDER / "umt5", tmp_path / "umt5")
    (tmp_path / "umt5" / "weights.safetensors").symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"weights.safetensors: cannot be opened"):
        read_golden(tmp_path / "umt5")


@pytest.mark.parametrize("name", ["x_init", "unipc_10_5.0_traj"])
def test_an_array_that_is_missing_or_of_another_shape(name: str):
    golden = read_golden(FOLDER / "samplers")
    with pytest.raises(InputError, match="is not in this golden"):
        compare(dataclasses.replace(golden, io={k: v for k, v in golden.io.items() if k != name}))
    with pytest.raises(InputError, match="no samplers can be made"):
        compare(dataclasses.replace(golden, io=golden.io | {name: golden.io[name][..., :2]}))


def golden_folder(folder: Path, **config: object) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    np.savez(folder / "io.npz", x=np.zeros(3))
    return folder


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A line each; exit code 1 if one differs."""
    assert main(["parity", str(FOLDER / "samplers"), str(FOLDER / "dit_t2v")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("samplers  samplers") and lines[0].endswith("pass")
    other = tmp_path / "other"
    shutil.copytree(FOLDER / "umt5", other)
    config = json.loads((other / "config.json").read_text()) | {"weight_seed": 1}
    (other / "config.json").write_text(json.dumps(config))
    assert main(["parity", str(other)]) == 1
    printed = capsys.readouterr()
    assert printed.out.rstrip().endswith("FAIL") and printed.err == "stage: 1 of 1 differ: other\n"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "dog"}, "kind: found 'dog', expected one of dit"),
        ({"kind": "umt5", "model": {}}, "'vocab' is not in this golden"),
        ({"kind": "dit", "model": []}, "model: found"),
        ({"kind": "umt5", "weights": {"a": [10**13]}}, "weights: a: found the shape"),
        ({"kind": "umt5", "weights": {"a": [10**4, 10**4]}}, "100,000,000 numbers"),
        ({"kind": "umt5", "weights": {"a": "q"}}, "weights: a: found the shape 'q'"),
        ({"kind": "samplers"}, "'A' is not in this golden"),
        ({}, "expected a golden with its kind"),
    ],
)
def test_a_golden_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], config: dict, message: str):
    assert main(["parity", str(golden_folder(tmp_path / "bad", **config))]) == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_files_that_are_missing_or_broken(tmp_path: Path):
    with pytest.raises(InputError, match=r"config.json: not found"):
        read_golden(tmp_path)
    folder = golden_folder(tmp_path / "bad", kind="umt5")
    (folder / "io.npz").write_bytes(b"PK not a zip")
    with pytest.raises(InputError, match=r"io.npz: not an .npz file"):
        read_golden(folder)
    (folder / "io.npz").unlink()
    with pytest.raises(InputError, match=r"io.npz: not found"):
        read_golden(folder)


def test_relative_error_of_what_is_not_finite():
    assert relative_error(np.array([1.0, np.nan]), np.array([1.0, 2.0])) == np.inf
    with pytest.raises(ValueError, match="shape"):
        largest_difference.__wrapped__(np.ones((4, 3)), np.ones((4, 1)))  # past the checks of types that only tests have
