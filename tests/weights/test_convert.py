"""Conversion and export, in this process: every entry bit for bit through every naming, and nothing written by halves."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.models.zoo import DITS
from stage_jax.weights import destination, export, folder
from stage_jax.weights.convert import convert
from stage_jax.weights.folder import part_hash, part_sampling, read_manifest, read_part, write_part
from stage_jax.weights.formats import Format, diffusers_config
from tests.goldens import drawn, load_golden
from tests.models.dits import TINY, abstract, golden_config
from tests.weights.checkpoints import (
    STEM,
    assert_identical,
    config_json,
    in_naming,
    mixed_state,
    read_all,
    set_config,
    write_json,
    write_original,
)

GOLDENS = ["dit_t2v", "dit_i2v", "dit_flf2v", "dit_ti2v_2.2"]


def two_experts(root: Path) -> dict[str, dict[str, np.ndarray]]:
    """An A14B's folder; the experts differ."""
    high = mixed_state()
    low = {name: (-array).astype(array.dtype) for name, array in high.items()}
    states = {"high_noise_model": high, "low_noise_model": low}
    for name, state in states.items():
        set_config(write_original(root / name, state), text_len=512)
    return states


@pytest.mark.parametrize("name", GOLDENS)
def test_original_there_and_back(tmp_path: Path, name: str):
    """Also through many small files on both sides; config.json comes back with Wan's fields."""
    state = mixed_state(name)
    write_original(tmp_path / "wan", state, shards=3, name=name)
    done = convert(tmp_path / "wan", tmp_path / "model")
    assert (done.model, done.config) == (None, golden_config(load_golden(name)))
    assert (done.entries, done.parameters) == (len(state), sum(array.size for array in state.values()))
    assert export.export(tmp_path / "model", tmp_path / "back", "original").entries == len(state)
    assert_identical(load_file(tmp_path / "back" / f"{STEM}.safetensors"), state)
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == config_json(load_golden(name))


@pytest.mark.parametrize("name", GOLDENS)
def test_diffusers_there_and_back(tmp_path: Path, name: str):
    state = in_naming(mixed_state(name), "diffusers")
    (tmp_path / "pipeline" / "transformer").mkdir(parents=True)
    save_file(state, tmp_path / "pipeline" / "transformer" / f"{STEM}.safetensors")
    config = golden_config(load_golden(name), text_len=512)
    write_json(tmp_path / "pipeline" / "transformer" / "config.json", diffusers_config(config))
    write_json(tmp_path / "pipeline" / "model_index.json", {"transformer_2": [None, None]})
    assert convert(tmp_path / "pipeline", tmp_path / "model").config == config
    export.export(tmp_path / "model", tmp_path / "back", "diffusers")
    assert_identical(load_file(tmp_path / "back" / "transformer" / f"{STEM}.safetensors"), state)
    convert(tmp_path / "back", tmp_path / "again")
    assert part_hash(tmp_path / "again", "dit") == part_hash(tmp_path / "model", "dit")


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_comfy_there_and_back(tmp_path: Path, prefix: str):
    state = {prefix + name: array for name, array in mixed_state().items()}
    save_file(state, tmp_path / "wan.safetensors")
    convert(tmp_path / "wan.safetensors", tmp_path / "model", heads=4)
    export.export(tmp_path / "model", tmp_path / "back", "comfy", prefix=prefix)
    assert [path.name for path in (tmp_path / "back").iterdir()] == ["wan-dit.safetensors"]
    assert_identical(load_file(tmp_path / "back" / "wan-dit.safetensors"), state)


@pytest.mark.parametrize(
    ("form", "names"),
    [
        ("original", [f"high_noise_model/{STEM}", f"low_noise_model/{STEM}"]),
        ("diffusers", [f"transformer/{STEM}", f"transformer_2/{STEM}"]),
        ("comfy", ["wan-dit-high-noise", "wan-dit-low-noise"]),
    ],
)
def test_two_experts(tmp_path: Path, form: Format, names: list[str]):
    """High noise is `dit`, low noise `dit_low`, there and back in every form."""
    states = two_experts(tmp_path / "wan")
    assert convert(tmp_path / "wan", tmp_path / "model").parts == ("dit", "dit_low")
    parts = read_manifest(tmp_path / "model")["parts"]
    assert [parts[part]["sources"][0]["file"].split("/")[0] for part in ("dit", "dit_low")] == list(states)
    done = export.export(tmp_path / "model", tmp_path / "back", form, sampling=lambda config, experts: {"boundary": 0.5})
    assert done.parts == ("dit", "dit_low")
    files = [tmp_path / "back" / f"{name}.safetensors" for name in names]
    for file, state in zip(files, states.values(), strict=True):
        assert_identical(load_file(file), in_naming(state, "diffusers") if form == "diffusers" else state)
    if form == "comfy":
        done = convert(files[0], tmp_path / "again", low=files[1], heads=4)
    else:
        done = convert(tmp_path / "back", tmp_path / "again")
    assert done.parts == ("dit", "dit_low")
    for part in done.parts:
        assert part_hash(tmp_path / "again", part) == part_hash(tmp_path / "model", part)


def test_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A part in several files is one part; so is an export, with its index."""
    state = mixed_state()
    write_original(tmp_path / "wan", state)
    monkeypatch.setattr(folder, "SHARD_BYTES", 1 << 18)
    monkeypatch.setattr(export, "SHARD_BYTES", 1 << 18)
    convert(tmp_path / "wan", tmp_path / "model")
    entry = read_manifest(tmp_path / "model")["parts"]["dit"]
    count = len(entry["files"])
    assert count > 2 and [*entry["files"]] == [f"model-{i + 1:05d}-of-{count:05d}.safetensors" for i in range(count)]
    for name, digest in entry["files"].items():
        data = (tmp_path / "model" / "dit" / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest and len(data) < (1 << 18) + (1 << 14)
    lines = "".join(f"{name} {digest}\n" for name, digest in sorted(entry["files"].items()))
    assert part_hash(tmp_path / "model", "dit") == hashlib.sha256(lines.encode()).hexdigest()
    config, params = read_part(tmp_path / "model", "dit", DiTConfig)
    assert config == golden_config(load_golden("dit_t2v"))
    up = state["blocks.1.ffn.0.weight"].astype(np.float32).T
    np.testing.assert_array_equal(params["blocks.1.ffn.up.kernel"], up)
    export.export(tmp_path / "model", tmp_path / "back", "original")
    index = json.loads((tmp_path / "back" / f"{STEM}.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(array.nbytes for array in state.values())
    files = sorted(set(index["weight_map"].values()))
    assert len(files) > 2
    assert_identical(read_all([tmp_path / "back" / file for file in files]), state)
    for file in files:
        there = load_file(tmp_path / "back" / file).keys()
        assert there == {name for name, place in index["weight_map"].items() if place == file}
    convert(tmp_path / "back", tmp_path / "again")
    assert part_hash(tmp_path / "again", "dit") == part_hash(tmp_path / "model", "dit")


def test_what_model_json_says(tmp_path: Path):
    """Sources by name and hash, the mixed types, the licence; a size without a name says nothing of sampling."""
    write_original(tmp_path / "wan", mixed_state(), shards=2)
    convert(tmp_path / "wan", tmp_path / "model", licence="MIT", sampling=lambda model: {"steps": 3})
    entry = read_manifest(tmp_path / "model")["parts"]["dit"]
    assert (entry["dtype"], entry["licence"]) == ("mixed", "MIT")
    assert "model" not in entry and part_sampling(tmp_path / "model", "dit") == {}
    files = sorted((tmp_path / "wan").glob("*.safetensors"))
    assert entry["sources"] == [{"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()} for file in files]


def test_a_size_of_the_zoo(tmp_path: Path):
    """Its name and its way of sampling are noted, and an export bears its name."""
    config = DITS["wan2.1-i2v-tiny"]
    write_part(tmp_path / "drawn", "dit", config, flat_params(drawn(abstract(config))), dtype="bfloat16")
    export.export(tmp_path / "drawn", tmp_path / "wan", "original")
    done = convert(tmp_path / "wan", tmp_path / "model", sampling={"wan2.1-i2v-tiny": {"steps": 3}}.get)
    entry = read_manifest(tmp_path / "model")["parts"]["dit"]
    assert (done.model, entry["model"], entry["dtype"]) == ("wan2.1-i2v-tiny", "wan2.1-i2v-tiny", "bfloat16")
    assert part_sampling(tmp_path / "model", "dit") == {"steps": 3}
    assert read_part(tmp_path / "model", "dit", DiTConfig)[0] == config
    export.export(tmp_path / "model", tmp_path / "comfy", "comfy")
    assert (tmp_path / "comfy" / "wan2.1-i2v-tiny.safetensors").exists()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_another_type(tmp_path: Path, dtype: str):
    write_original(tmp_path / "wan", mixed_state())
    convert(tmp_path / "wan", tmp_path / "model", dtype=dtype)
    assert read_manifest(tmp_path / "model")["parts"]["dit"]["dtype"] == dtype
    export.export(tmp_path / "model", tmp_path / "back", "original")
    expected = {name: array.astype(jnp.dtype(dtype)) for name, array in mixed_state().items()}
    assert_identical(load_file(tmp_path / "back" / f"{STEM}.safetensors"), expected)


def test_numbers_beyond_float16(tmp_path: Path):
    state = mixed_state()
    state["blocks.1.ffn.0.bias"] = np.full_like(state["blocks.1.ffn.0.bias"], 1e5)
    write_original(tmp_path / "wan", state)
    with pytest.raises(InputError, match="blocks.1.ffn.0.bias holds numbers beyond those of float16"):
        convert(tmp_path / "wan", tmp_path / "model", dtype="float16")
    assert [path.name for path in tmp_path.iterdir()] == ["wan"]


def test_parameters_without_a_torch_name(tmp_path: Path):
    """Coarse patch kernels are ours alone: named, and nothing is written."""
    config = DiTConfig(dim=24, ffn_dim=32, heads=2, layers=1, text_dim=6, freq_dim=16, kernels=((1, 2, 2), (1, 4, 4)))
    write_part(tmp_path / "model", "dit", config, flat_params(drawn(abstract(config))))
    with pytest.raises(InputError, match=r"dit: no torch name for patch_embedding.coarse.1x4x4.bias, .*1x4x4.kernel$"):
        export.export(tmp_path / "model", tmp_path / "back", "original")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_folder_that_contradicts_itself(tmp_path: Path):
    arrays = {f"blocks.{i}.modulation": jnp.zeros((1, 6, 24)) for i in range(2)} | {"head.modulation": jnp.zeros((1, 3, 24))}
    write_part(tmp_path / "model", "dit", TINY, arrays)
    words = r"config in model.json: head.modulation is \[1, 3, 24\], expected \[1, 2, 24\]; blocks.0.* is missing; "
    with pytest.raises(InputError, match=words):
        export.export(tmp_path / "model", tmp_path / "back", "original")
    write_part(tmp_path / "model", "dit", replace(TINY, layers=900), arrays)
    with pytest.raises(InputError, match="dit: found 2 layers, expected 900, the config in model.json says"):
        export.export(tmp_path / "model", tmp_path / "back", "original")


@pytest.mark.parametrize(
    ("form", "changes", "message"),
    [
        ("original", {"theta": 500.0}, "theta: found 500.0, expected 10000.0, since the format original cannot say another"),
        ("diffusers", {"text_len": 4}, "text_len: found 4, expected 512, since the format diffusers"),
        ("comfy", {"text_len": 4}, "text_len: found 4, expected 512, since the format comfy"),
        ("comfy", {"eps": 1e-5, "text_len": 512}, "eps: found 1e-05, expected 1e-06"),
        ("comfy", {"dim": 1536, "heads": 24, "text_len": 512}, "heads: found 24, expected 12, since the format comfy"),
    ],
)
def test_what_a_format_cannot_say(tmp_path: Path, form: Format, changes: dict, message: str):
    write_part(tmp_path / "model", "dit", replace(TINY, **changes), {"head.modulation": jnp.zeros((1, 2, 24))})
    with pytest.raises(InputError, match=f"dit: {message}"):
        export.export(tmp_path / "model", tmp_path / "back", form)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("case", ["two second experts", "other sizes", "no room", "the same twice", "inside the second"])
def test_refusals(tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch):
    two_experts(tmp_path / "wan")
    source, new, low, message = tmp_path / "wan", tmp_path / "new" / "model", None, "would be a second one"
    if case == "two second experts":
        low = tmp_path / "wan" / "low_noise_model"
    elif case == "other sizes":
        write_original(tmp_path / "wan" / "low_noise_model", mixed_state("dit_i2v"), name="dit_i2v")
        message = "low_noise_model: its sizes are not those of the other expert"
    elif case == "the same twice":
        source = low = tmp_path / "wan" / "low_noise_model"
        message = "low_noise_model: is the expert for high noise already, expected another one"
    elif case == "inside the second":
        source, low = (tmp_path / "wan" / name for name in ("high_noise_model", "low_noise_model"))
        new, message = low / "model", "lies inside .*low_noise_model, which it is made from"
    else:
        usage = destination.shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(destination.shutil, "disk_usage", lambda path: usage)
        message = "GB are to be written, 0.0 GB are free there"
    with pytest.raises(InputError, match=message):
        convert(source, new, low=low)
    assert not new.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["wan"]


def test_progress_ends_when_the_work_does(tmp_path: Path):
    """Every label counts up in megabytes and reaches its end once."""
    write_original(tmp_path / "wan", mixed_state())
    steps: list[tuple[str, int, int]] = []
    convert(tmp_path / "wan", tmp_path / "model", step=lambda *step: steps.append(step))
    for label in ("hashing dit (MB)", "writing dit (MB)"):
        done = [(done, of) for name, done, of in steps if name == label]
        assert done == sorted(done) and [end for end, of in done if end == of] == [1]
