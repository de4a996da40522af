"""Model folders: what is written is what is read, and whatever else lies there is refused in one line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.dit import DiTConfig
from stage_jax.models.vae_config import VAEConfig
from stage_jax.weights import folder as folder_module
from stage_jax.weights.folder import (
    copy_part,
    open_part,
    part_config,
    part_hash,
    part_sampling,
    read_manifest,
    read_part,
    stream_part,
    write_part,
)
from stage_jax.weights.header import MOST_JSON


@dataclasses.dataclass(frozen=True)
class Sizes:
    width: int = 2
    kernels: tuple[tuple[int, ...], ...] = ((1, 2, 2),)

    def __post_init__(self) -> None:
        if self.width == 5:
            raise ValueError("an odd width of 5")


PARAMS = {"blocks.up.kernel": jnp.arange(6.0).reshape(2, 3) / 7, "head.bias": jnp.ones(3)}
SIZES = Sizes(width=3, kernels=((1, 2, 2), (1, 4, 4)))
SAMPLING = {"steps": 20, "size": (64, 64)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_part(tmp_path / "model", "dit", SIZES, PARAMS, sampling=SAMPLING)
    return tmp_path / "model"


def edit(folder: Path, change) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    change(manifest)
    (folder / "model.json").write_text(json.dumps(manifest))


@pytest.mark.smoke
def test_round_trip(folder: Path):
    """Layers are unstacked in the file; config and float32 values come back exactly."""
    config, params = read_part(folder, "dit", Sizes)
    assert config == SIZES
    assert set(params) == {"blocks.0.up.kernel", "blocks.1.up.kernel", "head.bias"}
    np.testing.assert_array_equal(params["blocks.1.up.kernel"], PARAMS["blocks.up.kernel"][1])
    assert part_sampling(folder, "dit") == {"steps": 20, "size": [64, 64]}
    assert load_file(folder / "dit" / "model.safetensors").keys() == params.keys()


def test_a_second_part_and_another_writing(folder: Path):
    first = part_hash(folder, "dit")
    write_part(folder, "vae", Sizes(), {"a": jnp.zeros(1)})
    assert part_sampling(folder, "vae") == {} and part_hash(folder, "dit") == first
    write_part(folder, "dit", SIZES, PARAMS)
    assert part_hash(folder, "dit") == first
    write_part(folder, "dit", SIZES, PARAMS | {"head.bias": jnp.zeros(3)})
    assert part_hash(folder, "dit") != first and set(read_manifest(folder)["parts"]) == {"dit", "vae"}


def test_half_precision(folder: Path):
    write_part(folder, "dit", SIZES, PARAMS, dtype="float16")
    _, params = read_part(folder, "dit", Sizes)
    assert params["head.bias"].dtype == jnp.float32
    np.testing.assert_allclose(params["blocks.1.up.kernel"], PARAMS["blocks.up.kernel"][1], rtol=1e-3)


def test_copies_are_the_same(folder: Path, tmp_path: Path):
    copy_part(folder, tmp_path / "other", "dit")
    assert read_manifest(tmp_path / "other") == read_manifest(folder)
    assert read_part(tmp_path / "other", "dit", Sizes)[0] == SIZES


def flip_a_byte(folder: Path) -> None:
    path = folder / "dit" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def put_a_pickle(folder: Path) -> None:
    (folder / "dit" / "model.safetensors").write_bytes(pickle.dumps({"head.bias": np.zeros(3)}))


def bless_a_pickle(folder: Path) -> None:
    put_a_pickle(folder)
    digest = hashlib.sha256((folder / "dit" / "model.safetensors").read_bytes()).hexdigest()
    edit(folder, lambda m: m["parts"]["dit"].update(sha256=digest))


def bless_doubles(folder: Path) -> None:
    save_file({"head.bias": np.zeros(3)}, folder / "dit" / "model.safetensors")
    digest = hashlib.sha256((folder / "dit" / "model.safetensors").read_bytes()).hexdigest()
    edit(folder, lambda m: m["parts"]["dit"].update(sha256=digest))


WRONG = {
    "another byte": (flip_a_byte, "sha256"),
    "another hash": (lambda f: edit(f, lambda m: m["parts"]["dit"].update(sha256="0" * 64)), "sha256"),
    "a pickle": (put_a_pickle, "sha256"),
    "a pickle with its hash": (bless_a_pickle, "not a safetensors file"),
    "cut short": (lambda f: (f / "dit" / "model.safetensors").write_bytes(b"\x08"), "sha256"),
    "no weights": (lambda f: (f / "dit" / "model.safetensors").unlink(), "not found"),
    "no part": (lambda f: edit(f, lambda m: m["parts"].clear()), "no part 'dit', found none"),
    "no manifest": (lambda f: (f / "model.json").unlink(), "expected a model folder"),
    "no JSON": (lambda f: (f / "model.json").write_text("{"), "not JSON"),
    "no text": (lambda f: (f / "model.json").write_bytes(b"\xff"), "not JSON"),
    "a list": (lambda f: (f / "model.json").write_text("[]"), "expected a JSON object"),
    "deep": (lambda f: (f / "model.json").write_text("[" * 100_000), "not JSON"),
    "too much of it": (lambda f: (f / "model.json").write_text(" " * (MOST_JSON + 1)), "expected 16,777,216 at most"),
    "a folder": (lambda f: ((f / "model.json").unlink(), (f / "model.json").mkdir()), "expected a model folder"),
    "a model that is no name": (lambda f: edit(f, lambda m: m["parts"]["dit"].update(model=[])), r"dit.model: found \[\]"),
    "sampling that is none": (lambda f: edit(f, lambda m: m["parts"]["dit"].update(sampling=7)), "dit.sampling: found 7"),
    "types of its own": (bless_doubles, "head.bias is F64, expected F32, F16, BF16"),
    "a later format": (lambda f: edit(f, lambda m: m.update(format=2)), "format 1"),
    "parts as a list": (lambda f: edit(f, lambda m: m.update(parts=["dit"])), "format 1"),
    "no hash": (lambda f: edit(f, lambda m: m["parts"]["dit"].pop("sha256")), "sha256"),
    "no config": (lambda f: edit(f, lambda m: m["parts"]["dit"].update(config=7)), "config"),
    "an unknown size": (lambda f: edit(f, lambda m: m["parts"]["dit"]["config"].update(depth=1)), "unknown depth"),
    "an impossible size": (lambda f: edit(f, lambda m: m["parts"]["dit"]["config"].update(width=5)), "an odd width of 5"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refusals(folder: Path, case: str):
    spoil, message = WRONG[case]
    spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        read_part(folder, "dit", Sizes)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def big(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose part takes three files."""
    monkeypatch.setattr(folder_module, "SHARD_BYTES", 16)
    arrays = {"a": np.arange(3.0, dtype=np.float32), "b": np.ones((2, 2), np.float16), "c": np.zeros(3, jnp.bfloat16)}
    arrays |= {"d": np.zeros((), np.float32)}
    specs = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
    stream_part(tmp_path / "model", "dit", SIZES, specs, arrays.__getitem__, {"licence": "MIT"})
    return tmp_path / "model"


def deep(levels: int) -> list:
    return [] if levels == 0 else [deep(levels - 1)]


@pytest.mark.parametrize(
    ("kind", "field", "value", "expected"),
    [
        (DiTConfig, "heads", 0, "a whole number from 1"),
        (DiTConfig, "heads", True, "a whole number from 1"),
        (DiTConfig, "heads", None, "a whole number from 1"),
        (DiTConfig, "layers", "x", "a whole number from 1 to 999"),
        (DiTConfig, "layers", 10**9, "a whole number from 1 to 999"),
        (DiTConfig, "ffn_dim", 3.5, "a whole number from 1"),
        (DiTConfig, "ffn_dim", -1, "a whole number from 1"),
        (DiTConfig, "image_dim", "wide", "a whole number from 1"),
        (DiTConfig, "kernels", [], "a list of 1 to 64"),
        (DiTConfig, "kernels", [[1, 2]], "a list of 3 in it"),
        (DiTConfig, "kernels", [[1, 2, 0]], "whole numbers from 1 to 64 in it in it"),
        (DiTConfig, "kernels", deep(900), "a list of 3 in it"),
        (DiTConfig, "eps", 0, "a number above 0"),
        (DiTConfig, "theta", float("nan"), "a number above 0"),
        (DiTConfig, "gate_init", 10**400, "a number"),
        (DiTConfig, "dtype", "int4", "one of float32, bfloat16"),
        (DiTConfig, "scan_layers", 1, "true or false"),
        (VAEConfig, "conv", "fast", "one of "),
        (VAEConfig, "latent_mean", ["x"], "a number in it"),
        (CLIPConfig, "text", 7, "a CLIPTextConfig"),
    ],
)  # fmt: skip
def test_configurations_that_cannot_be(folder: Path, kind: type, field: str, value: object, expected: str):
    edit(folder, lambda m: m["parts"]["dit"].update(config={field: value}))
    with pytest.raises(InputError, match=rf"parts.dit.config.{field}: found .*, expected {expected}") as caught:
        part_config(folder, "dit", kind)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600


def test_writing_over_a_part_of_several_files(big: Path):
    """What it was made of is gone; other files stay."""
    (big / "dit" / "notes.txt").write_text("mine")
    write_part(big, "dit", SIZES, PARAMS)
    assert sorted(path.name for path in (big / "dit").iterdir()) == ["model.safetensors", "notes.txt"]
    assert read_part(big, "dit", Sizes)[0] == SIZES


def test_a_part_of_several_files(big: Path):
    """Each array keeps its type; the hash of the part is that of the lines of its files."""
    entry = read_manifest(big)["parts"]["dit"]
    assert len(entry["files"]) == 3 and (entry["dtype"], entry["licence"]) == ("mixed", "MIT")
    config, params = read_part(big, "dit", Sizes)
    shapes = {name: value.shape for name, value in params.items()}
    assert config == SIZES and shapes == {"a": (3,), "b": (2, 2), "c": (3,), "d": ()}
    np.testing.assert_array_equal(params["a"], [0, 1, 2])
    stored = {name: array.dtype for file in (big / "dit").iterdir() for name, array in load_file(file).items()}
    assert stored == {"a": np.float32, "b": np.float16, "c": jnp.bfloat16, "d": np.float32}
    copy_part(big, big.parent / "other", "dit")
    assert part_hash(big.parent / "other", "dit") == part_hash(big, "dit") == entry["sha256"]
    assert read_part(big.parent / "other", "dit", Sizes)[1].keys() == params.keys()


def other_files(change):
    """Changes what model.json says of the files, and blesses it with the hash that belongs to that."""

    def spoil(folder: Path) -> None:
        files = read_manifest(folder)["parts"]["dit"]["files"]
        change(files)
        lines = "".join(f"{name} {files[name]}\n" for name in sorted(files))
        digest = hashlib.sha256(lines.encode()).hexdigest()
        edit(folder, lambda m: m["parts"]["dit"].update(files=files, sha256=digest))

    return spoil


SECOND = "model-00002-of-00003.safetensors"
BIG_WRONG = {
    "another byte": (lambda f: (f / "dit" / SECOND).write_bytes(bytes(9)), f"{SECOND}: its contents are not those"),
    "a file is gone": (lambda f: (f / "dit" / SECOND).unlink(), f"{SECOND}: not found"),
    "another hash": (lambda f: edit(f, lambda m: m["parts"]["dit"].update(sha256="0" * 64)), "with hashes that add up"),
    "no files": (lambda f: edit(f, lambda m: m["parts"]["dit"].update(files=[])), "with hashes that add up"),
    "a hash of a file": (other_files(lambda files: files.update({SECOND: "0" * 64})), f"{SECOND}: its contents are not those"),
    "a path": (other_files(lambda files: files.update({"../vae/model.safetensors": "0"})), "with hashes that add up"),
    "an absolute path": (other_files(lambda files: files.update({"/etc/passwd": "0"})), "with hashes that add up"),
}


@pytest.mark.parametrize("case", BIG_WRONG)
def test_refusals_of_several_files(big: Path, case: str):
    spoil, message = BIG_WRONG[case]
    spoil(big)
    with pytest.raises(InputError, match=message) as caught:
        read_part(big, "dit", Sizes)
    assert str(big) in str(caught.value) and "\n" not in str(caught.value)


def test_the_shipped_models_are_read():
    """All parts of the assets, with the hashes that they were shipped with."""
    assets = Path(folder_module.__file__).parents[1] / "assets" / "tiny"
    for part, entry in read_manifest(assets)["parts"].items():
        path = assets / part / "model.safetensors"
        assert part_hash(assets, part) == hashlib.sha256(path.read_bytes()).hexdigest()
        opened = open_part(assets, part)
        assert opened.config == entry["config"] and opened.entries.keys() == load_file(path).keys()


def test_names_in_a_manifest_open_no_other_files(folder: Path, tmp_path: Path):
    """Paths come from the part's name alone: nothing that a manifest says leads out of its folder."""
    write_part(tmp_path / "secret", "dit", SIZES, PARAMS)
    edit(folder, lambda m: m["parts"].update({"../secret/dit": m["parts"]["dit"] | {"path": "../../etc/passwd"}}))
    assert read_part(folder, "dit", Sizes)[0] == SIZES
    assert part_hash(folder, "dit") == part_hash(tmp_path / "secret", "dit")
    edit(folder, lambda m: m["parts"].pop("dit"))
    with pytest.raises(InputError, match="no part 'dit'"):
        read_part(folder, "dit", Sizes)


@pytest.mark.parametrize("read", [part_hash, part_sampling])
def test_facts_about_a_part_that_is_not_there(folder: Path, read):
    with pytest.raises(InputError, match="no part 'vae', found dit"):
        read(folder, "vae")
