"""`stage convert` and `stage export`: whole round trips in processes of their own, and one line for every bad file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from stage_jax.cli import main as cli
from stage_jax.models.zoo import DITS
from stage_jax.sampling.defaults import DEFAULTS
from stage_jax.weights.folder import part_sampling, read_manifest
from tests.weights.checkpoints import (
    STEM,
    assert_identical,
    in_naming,
    mixed_state,
    read_all,
    set_config,
    write_json,
    write_original,
)
from tests.weights.test_detect import STRANGERS

FILE = f"{STEM}.safetensors"
INDEX = f"{FILE}.index.json"


def stage(*arguments: object) -> subprocess.CompletedProcess:
    """Runs `stage` in a process of its own, without the shape checks of these tests."""
    code = "import sys; from stage_jax.cli.main import main; sys.exit(main())"
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


def line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("stage: ") and captured.err.count("\n") == 1
    return captured.err.removeprefix("stage: ").rstrip()


def test_there_and_back_in_other_processes(tmp_path: Path):
    """bfloat16, float16 and float32 entries of Wan's own shards come back bit for bit; a line says what was done."""
    state = mixed_state()
    write_original(tmp_path / "wan", state, shards=3)
    done = stage("convert", tmp_path / "wan", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    count = sum(array.size for array in state.values())
    assert done.stdout.startswith(f"a DiT of 3 layers and 96 channels: dit, {count:,} parameters in {len(state)} entries, ")
    assert "writing dit (MB): 1/1" in done.stderr and "hashing dit (MB): 1/1" in done.stderr
    done = stage("export", tmp_path / "model", tmp_path / "back", "--format", "original")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"original: dit, {count:,} parameters in {len(state)} entries, ")
    assert_identical(load_file(tmp_path / "back" / FILE), state)


@pytest.mark.parametrize("form", ["diffusers", "comfy"])
def test_other_namings(tmp_path: Path, form: str):
    state = mixed_state()
    set_config(write_original(tmp_path / "wan", state), text_len=512)
    prefix = ["--prefix", "model.diffusion_model."] if form == "comfy" else []
    assert cli.main(["convert", str(tmp_path / "wan"), str(tmp_path / "model")]) == 0
    assert cli.main(["export", str(tmp_path / "model"), str(tmp_path / "back"), "--format", form, *prefix]) == 0
    prefixed = {f"model.diffusion_model.{name}": array for name, array in state.items()}
    expected = in_naming(state, "diffusers") if form == "diffusers" else prefixed
    assert_identical(read_all(sorted((tmp_path / "back").rglob("*.safetensors"))), expected)
    source = next((tmp_path / "back").rglob("*.safetensors")) if form == "comfy" else tmp_path / "back"
    assert cli.main(["convert", str(source), str(tmp_path / "again"), "--heads", "4"]) == 0
    hashes = {read_manifest(tmp_path / name)["parts"]["dit"]["sha256"] for name in ("model", "again")}
    assert len(hashes) == 1


def test_flags(tmp_path: Path):
    for name in ("wan", "low"):
        write_original(tmp_path / name, mixed_state())
    flags = ["--dtype", "bfloat16", "--licence", "MIT", "--low", str(tmp_path / "low")]
    assert cli.main(["convert", str(tmp_path / "wan"), str(tmp_path / "model"), *flags]) == 0
    parts = read_manifest(tmp_path / "model")["parts"]
    assert parts.keys() == {"dit", "dit_low"}
    assert {(part["dtype"], part["licence"]) for part in parts.values()} == {("bfloat16", "MIT")}


def test_a_released_model_says_how_it_is_sampled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    """What `sampling.defaults` holds under the model's name stands in model.json; others say nothing."""
    name = "wan2.1-t2v-tiny"
    assert cli.main(["convert", str(random_checkpoint(tmp_path / "wan", name)), str(tmp_path / "plain")]) == 0
    assert part_sampling(tmp_path / "plain", "dit") == {}
    shapes = f"these shapes are those of {name} and of one expert of wan2.2-t2v-tiny; "
    assert capsys.readouterr().out.startswith(f"{shapes}no sampling is noted\n{name}: dit, ")
    monkeypatch.setitem(DEFAULTS, name, DEFAULTS["wan2.2-t2v-a14b"])
    assert cli.main(["convert", str(tmp_path / "wan"), str(tmp_path / "model")]) == 0
    assert capsys.readouterr().out.startswith(f"{shapes}the sampling of {name} is noted\n{name}: dit, ")
    sampling = part_sampling(tmp_path / "model", "dit")
    assert (sampling["steps"], sampling["shift"], sampling["guidance"], sampling["boundary"]) == (40, 12.0, [3.0, 4.0], 0.875)
    assert set(DEFAULTS) <= set(DITS)


def test_one_expert_is_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture):
    """Of Wan2.2's I2V, whose shapes no whole model has."""
    random_checkpoint(tmp_path / "wan", "wan2.2-i2v-tiny")
    assert cli.main(["convert", str(tmp_path / "wan"), str(tmp_path / "both")]) == 0
    assert capsys.readouterr().out.startswith("wan2.2-i2v-tiny: dit, dit_low, ")
    assert cli.main(["convert", str(tmp_path / "wan" / "low_noise_model"), str(tmp_path / "one")]) == 0
    assert capsys.readouterr().out.startswith("one of the two experts of wan2.2-i2v-tiny: dit, ")


def random_checkpoint(folder: Path, name: str) -> Path:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, root / "tools" / "write_checkpoint.py", name, folder]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def resave(folder: Path, change) -> None:
    state = load_file(folder / FILE)
    change(state)
    save_file(state, folder / FILE)


def only(names: list[str]):
    """A file of nothing but these entries."""
    return lambda folder: save_file({name: np.zeros(1, np.float32) for name in names}, folder / FILE)


def in_eight_bits(state: dict[str, np.ndarray]) -> None:
    state["head.head.weight"] = state["head.head.weight"].astype(np.int8)


def fp8(folder: Path) -> None:
    """Eight bits under another name, which NumPy does not have."""
    resave(folder, in_eight_bits)
    data = (folder / FILE).read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length].replace(b'"I8"', b'"F8_E4M3"')
    (folder / FILE).write_bytes(len(header).to_bytes(8, "little") + header + data[8 + length :])


def rewrite(change):
    def spoil(folder: Path) -> None:
        data = (folder / FILE).read_bytes()
        (folder / FILE).write_bytes(change(data))

    return spoil


def sharded(spoil):
    """The same checkpoint in three shards with an index, spoilt."""

    def put(folder: Path) -> None:
        state = load_file(folder / FILE)
        (folder / FILE).unlink()
        write_original(folder, state, shards=3)
        spoil(folder)

    return put


def shard(number: int) -> str:
    return f"{STEM}-{number:05d}-of-00003.safetensors"


def edit_index(folder: Path, **changes: str) -> None:
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"] |= changes
    write_json(folder / INDEX, index)


def link_out(folder: Path) -> None:
    (folder / shard(2)).rename(folder.parent / "secret.safetensors")
    (folder / shard(2)).symlink_to(folder.parent / "secret.safetensors")


def link_to_itself(folder: Path) -> None:
    (folder / shard(2)).unlink()
    (folder / shard(2)).symlink_to(folder / shard(2))


def same_twice(folder: Path) -> None:
    (folder / INDEX).unlink()
    save_file({"head.head.bias": np.zeros(64, np.float32)}, folder / FILE)


def three_faults(state: dict[str, np.ndarray]) -> None:
    state["head.head.bias"] = np.zeros(7, np.float32)
    state["blocks.1.norm3.bias"] = np.zeros((2, 48), np.float32)
    state["blocks.2.self_attn.q.weight"] = np.zeros((96, 95), np.float32)


def empty(folder: Path) -> None:
    for file in folder.iterdir():
        file.unlink()


WRONG = {
    "truncated": (rewrite(lambda data: data[:-100]), "was it cut short"),
    "truncated in the header": (rewrite(lambda data: data[:50]), "not a safetensors file"),
    "random bytes": (rewrite(lambda data: np.random.default_rng(0).bytes(5000)), "not a safetensors file"),
    "an absurd header": (rewrite(lambda data: (1 << 62).to_bytes(8, "little") + data[8:]), "a header of 4,611,686,018,427"),
    "a header that is no JSON": (rewrite(lambda data: data[:8] + b"x" + data[9:]), "its header is not JSON"),
    "int8": (lambda f: resave(f, in_eight_bits), "head.head.weight is I8, expected F32, F16, BF16 (1 such entries)"),
    "fp8": (fp8, "head.head.weight is F8_E4M3, expected F32, F16, BF16 (1 such entries)"),
    "missing shard": (sharded(lambda f: (f / shard(2)).unlink()), f"{INDEX}: names {shard(2)}, not found beside it"),
    "missing entry": (lambda f: resave(f, lambda s: s.pop("blocks.1.norm3.bias")),
                      "1 entries do not fit: blocks.1.norm3.bias is missing"),
    "extra entry": (lambda f: resave(f, lambda s: s.update({"blocks.1.more": np.zeros(1, np.float32)})),
                    "1 entries do not fit: blocks.1.more is not known"),
    "wrong shapes": (lambda f: resave(f, three_faults), "3 entries do not fit: "),
    "empty folder": (empty, "no .safetensors or .pth file in it, found nothing"),
    "a link to itself": (sharded(link_to_itself), f"{shard(2)}: cannot be opened"),
    "the index points outside": (sharded(lambda f: edit_index(f, more="../secret.safetensors")), "expected one beside it"),
    "the index is absolute": (sharded(lambda f: edit_index(f, more="/secret.safetensors")), "expected one beside it"),
    "a link that leads outside": (sharded(link_out), f"{shard(2)}: leads out of"),
    "the index is no JSON": (sharded(lambda f: (f / INDEX).write_text("weights")), f"{INDEX}: not JSON"),
    "names in two shards": (sharded(same_twice), "head.head.bias is in"),
    **{name: (only(names), f"looks like {kind}") for name, (names, kind) in STRANGERS.items()},
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_bad_checkpoints(tmp_path: Path, case: str, capsys: pytest.CaptureFixture):
    """One line, exit code 2, and nothing is written."""
    spoil, message = WRONG[case]
    source = write_original(tmp_path / "wan", mixed_state())
    spoil(source)
    before = {path: path.lstat().st_size for path in tmp_path.rglob("*")}
    assert cli.main(["convert", str(source), str(tmp_path / "out" / "model")]) == 2
    said = line(capsys)
    assert said.startswith(str(source)) and message in said
    assert {path: path.lstat().st_size for path in tmp_path.rglob("*")} == before
    if case == "wrong shapes":
        for part in ("head.head.bias is [7], expected [64]", "blocks.1.norm3.bias is [2, 48], expected [96]", "[96, 95]"):
            assert part in said


@pytest.mark.parametrize("kind", ["nothing", "a pipe", "a link to itself", "a pickle", "a text"])
def test_what_is_no_checkpoint_at_all(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture):
    source = tmp_path / "wan.pth"
    if kind == "a pipe":
        os.mkfifo(source)
    elif kind == "a link to itself":
        source.symlink_to(source)
    elif kind == "a pickle":
        source.write_bytes(b"PK\x03\x04")
    elif kind == "a text":
        source = tmp_path / "notes.txt"
        source.write_text("Weights are at the usual place.")
    assert cli.main(["convert", str(source), str(tmp_path / "model")]) == 2
    assert line(capsys).startswith(f"{source}: ")
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("verb", ["convert", "export"])
@pytest.mark.parametrize("case", ["full", "a file", "inside", "itself", "a link inside", "a link to nowhere"])
def test_bad_destinations(tmp_path: Path, verb: str, case: str, capsys: pytest.CaptureFixture):
    """Refused before the work begins, whatever stands there stays."""
    source = write_original(tmp_path / "wan", mixed_state())
    if verb == "export":
        assert cli.main(["convert", str(source), str(tmp_path / "model")]) == 0
        source = tmp_path / "model"
        capsys.readouterr()
    destination = {"inside": source / "new", "itself": source}.get(case, tmp_path / "there")
    if case == "full":
        destination.mkdir()
        (destination / "mine").write_text("")
    elif case == "a file":
        destination.write_text("")
    elif case == "a link inside":
        (source / "empty").mkdir()
        destination.symlink_to(source / "empty")
    elif case == "a link to nowhere":
        destination.symlink_to(source / "nowhere")
    before = sorted(tmp_path.rglob("*"))
    flags = ["--format", "original"] if verb == "export" else []
    assert cli.main([verb, str(source), str(destination), *flags]) == 2
    said = line(capsys)
    assert said.startswith(f"{destination}: ")
    assert ("lies inside" if "inside" in case or "nowhere" in case else "expected a new or empty folder") in said
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_is_as_good_as_a_new_one(tmp_path: Path):
    source = write_original(tmp_path / "wan", mixed_state())
    (tmp_path / "disk").mkdir()
    (tmp_path / "model").symlink_to(tmp_path / "disk")
    assert cli.main(["convert", str(source), str(tmp_path / "model")]) == 0
    assert (tmp_path / "disk" / "model.json").exists() and (tmp_path / "model").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "nowhere", "out", "--format", "comfy"], "nowhere/model.json: not found, expected a model folder"),
        (["export", "model", "out"], "required: --format"),
        (["export", "model", "out", "--format", "onnx"], "argument --format: invalid choice: 'onnx'"),
        (["export", "model", "out", "--format", "original", "--prefix", "diffusion_model."], "expected with --format comfy"),
        (["convert", "wan"], "required: DST"),
        (["convert", "wan", "model", "--dtype", "int8"], "argument --dtype: invalid choice: 'int8'"),
        (["convert", "wan", "model", "--heads", "0"], "argument --heads: found '0'"),
        (["convert", "wan", "model", "more"], "unknown arguments: more"),
    ],
)
def test_wrong_arguments(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(arguments) == 2
    assert message in line(capsys)
    assert list(tmp_path.iterdir()) == []


def test_no_part_to_export(tmp_path: Path, capsys: pytest.CaptureFixture):
    write_json(tmp_path / "model.json", {"format": 1, "parts": {}})
    assert cli.main(["export", str(tmp_path), str(tmp_path.parent / "out"), "--format", "comfy"]) == 2
    assert "no part dit, dit_low, vae, umt5, clip, found none" in line(capsys)
