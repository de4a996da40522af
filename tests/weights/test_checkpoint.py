"""Opening checkpoints: the folders and files that people have, and that nothing outside of them is read."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.places import experts
from tests.weights.checkpoints import STEM, assert_identical, mixed_state, write_json, write_original

INDEX = f"{STEM}.safetensors.index.json"
SECOND = f"{STEM}-00002-of-00003.safetensors"


def read(path: Path) -> dict[str, np.ndarray]:
    checkpoint = open_checkpoint(path)
    return {name: checkpoint.read(name) for name in checkpoint.entries}


@pytest.fixture(scope="module")
def state() -> dict[str, np.ndarray]:
    return mixed_state()


@pytest.mark.parametrize(("shards", "index"), [(1, False), (3, True), (3, False)])
def test_folders(tmp_path: Path, state, shards: int, index: bool):
    """One file, shards with their index, shards without: every entry, bit for bit."""
    folder = write_original(tmp_path / "wan", state, shards=shards, index=index)
    assert_identical(read(folder), state)
    assert open_checkpoint(folder).config["num_layers"] == 3


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model.", "diffusion_model."])
def test_one_file(tmp_path: Path, state, prefix: str):
    """As ComfyUI has it, prefix or not; the config.json beside may be another model's."""
    save_file({prefix + name: array for name, array in state.items()}, tmp_path / "any name")
    write_json(tmp_path / "config.json", {"num_heads": 99})
    assert_identical(read(tmp_path / "any name"), state)
    assert open_checkpoint(tmp_path / "any name").config == {}


def test_opening_reads_no_data(tmp_path: Path):
    """Headers only, and then one array at a time: memory does not hold two."""
    arrays = {name: np.full(1 << 20, i, np.float32) for i, name in enumerate("abcdefgh")}
    write_original(tmp_path, arrays, shards=2)
    tracemalloc.start()
    try:
        checkpoint = open_checkpoint(tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        assert [float(checkpoint.read(name)[-1]) for name in arrays] == list(range(8))
        assert tracemalloc.get_traced_memory()[1] < 2.5 * (1 << 22)
    finally:
        tracemalloc.stop()


def test_a_hugging_face_cache(tmp_path: Path, state):
    """Its snapshots are links into the blobs beside; those are allowed, other places are not."""
    snapshot = write_original(tmp_path / "models--wan" / "snapshots" / "0a1b" / "transformer", state)
    blobs = tmp_path / "models--wan" / "blobs"
    blobs.mkdir()
    for i, file in enumerate(list(snapshot.iterdir())):
        file.rename(blobs / str(i))
        file.symlink_to(os.path.relpath(blobs / str(i), snapshot))
    assert_identical(read(snapshot), state)
    assert experts(snapshot.parent) == {"dit": snapshot}
    blobs.rename(tmp_path / "models--wan" / "elsewhere")
    for file in snapshot.iterdir():
        target = tmp_path / "models--wan" / "elsewhere" / os.path.basename(os.readlink(file))
        file.unlink()
        file.symlink_to(target)
    with pytest.raises(InputError, match="leads out of"):
        open_checkpoint(snapshot)


def test_experts(tmp_path: Path):
    """High and low noise, as Wan and as diffusers put them; everything else is one checkpoint."""
    for high, low in (("high_noise_model", "low_noise_model"), ("transformer", "transformer_2")):
        root = tmp_path / f"with {high}"
        (root / high).mkdir(parents=True)
        (root / low).mkdir()
        assert experts(root) == {"dit": root / high, "dit_low": root / low}
        (root / high).rename(root / "other")
        with pytest.raises(InputError, match=f"{high}: not found, expected the other expert there"):
            experts(root)
    assert experts(tmp_path) == {"dit": tmp_path}


@pytest.mark.parametrize("second", [None, [None, None], ["diffusers", "WanTransformer3DModel"]])
def test_what_a_pipeline_says_of_a_second_transformer(tmp_path: Path, second: object):
    """One transformer is enough where model_index.json speaks of no other."""
    (tmp_path / "transformer").mkdir()
    write_json(tmp_path / "model_index.json", {"transformer_2": second} if second else {})
    if second and second[0]:
        with pytest.raises(InputError, match="transformer_2: not found"):
            experts(tmp_path)
    else:
        assert experts(tmp_path) == {"dit": tmp_path / "transformer"}


def edit_index(folder: Path, change) -> None:
    index = json.loads((folder / INDEX).read_text())
    change(index["weight_map"])
    write_json(folder / INDEX, index)


def point_outside(name: str):
    def spoil(folder: Path) -> None:
        save_file({"secret": np.zeros(1, np.float32)}, folder.parent / "secret.safetensors")
        edit_index(folder, lambda m: m.update({"secret": name.format(outside=folder.parent)}))

    return spoil


def link_outside(folder: Path) -> None:
    (folder / SECOND).rename(folder.parent / "secret.safetensors")
    (folder / SECOND).symlink_to(folder.parent / "secret.safetensors")


def link_config_outside(folder: Path) -> None:
    (folder / "config.json").rename(folder.parent / "secret.json")
    (folder / "config.json").symlink_to(folder.parent / "secret.json")


def loop(folder: Path) -> None:
    (folder / SECOND).unlink()
    (folder / SECOND).symlink_to(SECOND)


def drop_index_and(effect):
    def spoil(folder: Path) -> None:
        (folder / INDEX).unlink()
        effect(folder)

    return spoil


def overlap(folder: Path) -> None:
    save_file({"head.head.bias": np.zeros(1, np.float32)}, folder / f"{STEM}.safetensors")


def fifo(folder: Path) -> None:
    (folder / SECOND).unlink()
    os.mkfifo(folder / SECOND)


WRONG = {
    "a shard is missing": (lambda f: (f / SECOND).unlink(), f"names {SECOND}, not found beside it"),
    "a shard is missing, no index": (drop_index_and(lambda f: (f / SECOND).unlink()), f"{SECOND}: not found, .* is one of 3"),
    "names twice": (drop_index_and(overlap), "head.head.bias is in .* too"),
    "the index speaks of another file": (
        lambda f: edit_index(f, lambda m: m.update({"head.head.bias": SECOND, "head.head.weight": SECOND})), "the index says"),
    "the index names an entry too many": (
        lambda f: edit_index(f, lambda m: m.update(more=SECOND)), f"more is in no file, the index says {SECOND}"),
    "the index forgets an entry": (
        lambda f: edit_index(f, lambda m: m.pop("head.head.bias")), "head.head.bias is in .*, the index says no file"),
    "the index points up": (point_outside("../secret.safetensors"), "names the file '../secret.safetensors'"),
    "the index points up from below": (point_outside("sub/../../secret.safetensors"), "expected one beside it"),
    "an absolute path": (point_outside("{outside}/secret.safetensors"), "expected one beside it"),
    "the folder itself": (point_outside("."), "expected one beside it"),
    "the folder above": (point_outside(".."), "expected one beside it"),
    "no name": (point_outside(""), "expected one beside it"),
    "a NUL": (point_outside("a\0b"), "expected one beside it"),
    "a link that leads outside": (link_outside, f"{SECOND}: leads out of"),
    "such a link, no index": (drop_index_and(link_outside), f"{SECOND}: leads out of"),
    "config.json leads outside": (link_config_outside, "config.json: leads out of"),
    "a link to itself": (loop, f"{SECOND}: cannot be opened"),
    "a pipe": (fifo, f"{SECOND}: not a file"),
    "the index is no JSON": (lambda f: (f / INDEX).write_text("{"), f"{INDEX}: not JSON"),
    "the index is no text": (lambda f: (f / INDEX).write_bytes(b"\xff"), f"{INDEX}: not JSON"),
    "the index is deep": (lambda f: (f / INDEX).write_text("[" * 100_000), f"{INDEX}: not JSON"),
    "the index is a list": (lambda f: (f / INDEX).write_text("[]"), f"{INDEX}: expected a JSON object"),
    "the index has no map": (lambda f: (f / INDEX).write_text("{}"), "expected a weight_map"),
    "the map names numbers": (lambda f: (f / INDEX).write_text('{"weight_map": {"a": 1}}'), "expected a weight_map"),
    "two indices": (lambda f: write_json(f / f"{STEM}.fp16.safetensors.index.json", {}), "found 2 indices"),
    "config.json is no JSON": (lambda f: (f / "config.json").write_text("x"), "config.json: not JSON"),
    "config.json is a folder": (
        lambda f: ((f / "config.json").unlink(), (f / "config.json").mkdir()), "config.json: not a file"),
    "other things": (
        lambda f: [p.rename(p.with_suffix(".onnx")) for p in f.iterdir()], "no .safetensors or .pth file in it, found"),
    "nothing": (lambda f: [p.unlink() for p in f.iterdir()], "no .safetensors or .pth file in it, found nothing"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_refusals(tmp_path: Path, state, case: str):
    spoil, message = WRONG[case]
    folder = write_original(tmp_path / "wan", state, shards=3)
    spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        open_checkpoint(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


def test_types_that_numpy_does_not_have(tmp_path: Path):
    """Eight bits: one line, not an error of a library."""
    header = json.dumps({"a": {"dtype": "F8_E4M3", "shape": [2], "data_offsets": [0, 2]}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(2))
    with pytest.raises(InputError, match="x.safetensors: a is F8_E4M3, expected F32, F16, BF16"):
        open_checkpoint(tmp_path / "x.safetensors").read("a")


def test_several_models_in_one_folder(tmp_path: Path):
    for name in ("a", "b"):
        save_file({"x": np.zeros(1, np.float32)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(InputError, match=r"found 2 models \(a.safetensors, b.safetensors\), expected one"):
        open_checkpoint(tmp_path)


def test_more_than_one_model_in_one_file(tmp_path: Path):
    one = np.zeros(1, np.float32)
    save_file({"model.diffusion_model.x": one, "vae.y": one}, tmp_path / "all.safetensors")
    with pytest.raises(InputError, match=r"more than one model: vae.y beside model.diffusion_model"):
        open_checkpoint(tmp_path / "all.safetensors")


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin", ".ckpt", ".PTH"])
def test_pickles(tmp_path: Path, suffix: str):
    path = tmp_path / f"wan{suffix}"
    path.write_bytes(b"\x80\x04")
    with pytest.raises(InputError, match="not a zip, as torch.save writes since 1.6; older pickles are not read"):
        open_checkpoint(path)


def test_places_that_hold_nothing(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for name, message in (("nowhere", "No such file"), ("pipe", "neither a file nor a folder"), ("loop", "symbolic links")):
        with pytest.raises(InputError, match=message):
            open_checkpoint(tmp_path / name)
