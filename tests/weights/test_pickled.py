"""Files of torch.save: read bit for bit without running anything, and one line for whatever is no state dict."""

from __future__ import annotations

import pickle
import tracemalloc
import zipfile
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import open_checkpoint
from tests.weights import torch_files
from tests.weights.checkpoints import assert_identical, mixed_state
from tests.weights.torch_files import contiguous, members, pickled, save_torch, tensor, text, whole, write_zip

STATE = {
    "a": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "b": np.arange(5, dtype=np.float16),
    "c": np.arange(6).reshape(2, 3).astype(jnp.bfloat16),
    "scalar": np.array(3, np.float32),
    "none": np.zeros((0, 4), np.float32),
}


def read(path: Path) -> dict[str, np.ndarray]:
    checkpoint = open_checkpoint(path)
    return {name: checkpoint.read(name) for name in checkpoint.entries}


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(path)
    said = str(caught.value)
    assert said.startswith(str(path)) and "\n" not in said and len(said) < 700
    return said


def test_a_state_dict(tmp_path: Path):
    assert_identical(read(save_torch(STATE, tmp_path / "model.pth")), STATE)
    assert_identical(read(save_torch(mixed_state(), tmp_path / "any name")), mixed_state())
    found = open_checkpoint(tmp_path / "model.pth")
    assert (found.config, found.files, found.shapes["a"]) == ({}, (tmp_path / "model.pth",), (2, 3, 4))


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state", "model"])
def test_wrapped_once(tmp_path: Path, wrapper: str):
    files = members(STATE)
    inner = files["data.pkl"][2:-1]
    files["data.pkl"] = b"\x80\x02}(" + text("epoch") + whole(3) + text(wrapper) + inner + b"u."
    assert_identical(read(write_zip(tmp_path / "model.pth", files)), STATE)


def test_shared_storages_and_strides(tmp_path: Path):
    """Views of one storage: a transposed one, a slice with an offset, a column, one that repeats nothing."""
    data = np.arange(12, dtype=np.float32)
    views = {"t": (0, (4, 3), (1, 4)), "tail": (8, (4,), (1,)), "column": (1, (3,), (4,)), "all": (0, (12,), (1,))}
    items = {name: tensor("7", "FloatStorage", 12, *view) for name, view in views.items()}
    files = {"data.pkl": pickled(items), "data/7": data.tobytes()}
    whole_of = data.reshape(3, 4)
    expected = {"t": whole_of.T, "tail": data[8:], "column": whole_of[:, 1], "all": data}
    found = read(write_zip(tmp_path / "model.pth", files, root="Wan2.1_VAE"))
    assert_identical(found, expected)
    assert all(array.flags.c_contiguous for array in found.values())


def test_one_array_at_a_time(tmp_path: Path):
    path = save_torch({name: np.full(1 << 20, i, np.float32) for i, name in enumerate("abcdefgh")}, tmp_path / "model.pth")
    tracemalloc.start()
    try:
        checkpoint = open_checkpoint(path)
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
        assert [float(checkpoint.read(name)[-1]) for name in "abcdefgh"] == list(range(8))
        assert tracemalloc.get_traced_memory()[1] < 2.5 * (1 << 22)
    finally:
        tracemalloc.stop()


class Malicious:
    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("wrap", [lambda m: m, lambda m: {"a": m}, lambda m: OrderedDict(state_dict={"a": m})])
def test_code_is_not_run(tmp_path: Path, protocol: int, wrap):
    """As torch's own loader without weights_only would: the same bytes do it, so they are dangerous."""
    data = pickle.dumps(wrap(Malicious(tmp_path / "run")), protocol)
    pickle.loads(data)
    assert (tmp_path / "run").exists()
    (tmp_path / "run").unlink()
    said = refusal(write_zip(tmp_path / "model.pth", {"data.pkl": data}))
    assert "its pickle asks for " in said and "expected tensors alone; nothing of it was run" in said
    assert not (tmp_path / "run").exists()


def test_the_function_is_named(tmp_path: Path):
    said = refusal(write_zip(tmp_path / "model.pth", {"data.pkl": b"\x80\x02cos\nsystem\n" + text("true") + b"\x85R."}))
    assert "its pickle asks for os.system, expected tensors alone" in said


ONE = tensor("0", "FloatStorage", 4, 0, (2, 2), (2, 1))
DATA = {"data/0": bytes(16)}


def of(value: bytes, **more: bytes) -> dict[str, bytes]:
    return {"data.pkl": pickled({"a": value}), **DATA, **more}


def bare(data: bytes) -> dict[str, bytes]:
    return {"data.pkl": data, **DATA}


REFUSED = {
    "a number for a tensor": (of(whole(3)), "its entries a are no tensors with names"),
    "a tensor alone": (bare(b"\x80\x02" + ONE + b"."), "holds no state dict"),
    "a list": (bare(b"\x80\x02]" + ONE + b"a."), "holds no state dict"),
    "names that are numbers": (bare(b"\x80\x02}" + whole(1) + ONE + b"s."), "its entries 1 are no tensors"),
    "nothing": (bare(b"\x80\x02}."), "holds no state dict"),
    "no end": (bare(b"\x80\x02}"), "is not a pickle of a state dict"),
    "not a pickle": (bare(b"weights"), "is not a pickle of a state dict"),
    "an empty stack": (bare(b"\x80\x02."), "is not a pickle of a state dict"),
    "no mark": (bare(b"\x80\x02}u."), "is not a pickle of a state dict"),
    "a memo that is not there": (bare(b"\x80\x02h\x05."), "is not a pickle of a state dict"),
    "odd items": (bare(b"\x80\x02}(" + text("a") + b"u."), "is not a pickle of a state dict"),
    "a tuple as key": (bare(b"\x80\x02})" + b"\x85" * 99999 + ONE + b"s."), "a key is a tuple"),
    "deep lists": (bare(b"\x80\x02" + b"]" * 99999 + b"a" * 99998 + b"."), "holds no state dict"),
    "a number without end": (bare(b"\x80\x02I" + b"9" * 99999 + b"\n."), "is not a pickle of a state dict"),
    "an instance": (bare(b"\x80\x02ccollections\nOrderedDict\n)\x81."), "its instruction NEWOBJ is none"),
    "a call of a storage": (bare(b"\x80\x02ctorch\nFloatStorage\n)R."), "it calls torch.FloatStorage with 0 arguments"),
    "a dict of arguments": (bare(b"\x80\x02ccollections\nOrderedDict\n" + text("x") + b"\x85R."), "with 1 arguments"),
    "too few arguments": (bare(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R."), "is not a pickle of a state dict"),
    "state of a tensor": (of(ONE + b"}b"), "where it needs a dict"),
    "beyond the storage": (of(tensor("0", "FloatStorage", 4, 1, (2, 2), (2, 1))), "reaches beyond its storage of 4"),
    "strides beyond it": (of(tensor("0", "FloatStorage", 4, 0, (2, 2), (3, 1))), "reaches beyond its storage"),
    "a huge array of nothing": (of(tensor("0", "FloatStorage", 4, 0, (1 << 40, 1 << 20), (0, 0))), "reaches beyond"),
    "negative strides": (of(tensor("0", "FloatStorage", 4, 3, (4,), (-1,))), "strides that cannot be"),
    "another number of axes": (of(tensor("0", "FloatStorage", 4, 0, (2, 2), (1,))), "strides that cannot be"),
    "a storage that lies": (of(tensor("0", "FloatStorage", 1 << 40, 0, (2,), (1,))), "a: found 16 bytes of data, expected 4,"),
    "no storage": (of(tensor("1", "FloatStorage", 4, 0, (2,), (1,))), "a: its data, 1, are not in the zip"),
    "a storage elsewhere": (of(tensor("../../x", "FloatStorage", 4, 0, (2,), (1,))), "are not in the zip"),
    "big-endian": (of(ONE, byteorder=b"big"), "its byteorder is b'big', expected little"),
    "TorchScript": (of(ONE, **{"code/model.py": b"", "constants.pkl": b""}), "a TorchScript program"),
    "no pickle": ({"weights.txt": b""}, "a zip with 0 members data.pkl"),
    "two pickles": (of(ONE, **{"more/data.pkl": b""}), "a zip with 2 members data.pkl"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(tmp_path: Path, case: str):
    files, message = REFUSED[case]
    assert message in refusal(write_zip(tmp_path / "model.pth", files))


def test_one_storage_of_two_sizes(tmp_path: Path):
    files = of(ONE) | {"data.pkl": pickled({"a": ONE, "b": tensor("0", "FloatStorage", 1 << 30, 1 << 29, (4,), (1,))})}
    assert "b: found 16 bytes of data, expected 4,294,967,296" in refusal(write_zip(tmp_path / "model.pth", files))


def test_compressed_members(tmp_path: Path):
    """A bomb of zeros is not unpacked."""
    path = write_zip(tmp_path / "model.pth", {"data.pkl": bytes(1 << 24)}, packed=True)
    assert path.stat().st_size < 1 << 16 and "is compressed or encrypted" in refusal(path)
    path = write_zip(tmp_path / "large.pth", {"data.pkl": bytes((1 << 24) + 1)})
    assert "its data.pkl takes 16,777,217 bytes, expected 16,777,216 at most" in refusal(path)


@pytest.mark.parametrize("keep", [3, 40, 0.5, -1, -30])
def test_cut_short(tmp_path: Path, keep: float):
    data = save_torch(STATE, tmp_path / "model.pth").read_bytes()
    (tmp_path / "model.pth").write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    refusal(tmp_path / "model.pth")


def test_cut_short_after_it_was_opened(tmp_path: Path):
    checkpoint = open_checkpoint(save_torch(STATE, tmp_path / "model.pth"))
    (tmp_path / "model.pth").write_bytes(b"")
    with pytest.raises(InputError, match=r"model.pth: a cannot be read \(the file ends before it does\)"):
        checkpoint.read("a")


def test_members_that_are_not_where_the_zip_says(tmp_path: Path):
    data = bytearray(save_torch(STATE, tmp_path / "model.pth").read_bytes())
    with zipfile.ZipFile(tmp_path / "model.pth") as archive:
        place = archive.getinfo("archive/data/0").header_offset
    data[place : place + 4] = b"none"
    (tmp_path / "model.pth").write_bytes(data)
    assert "its member archive/data/0 is not where the zip says" in refusal(tmp_path / "model.pth")


def test_two_members_of_one_name(tmp_path: Path):
    path = save_torch(STATE, tmp_path / "model.pth")
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/data/0", bytes(96))
    assert "two of its members have one name" in refusal(path)


@pytest.mark.parametrize("noise", range(20))
def test_noise_is_no_other_error(tmp_path: Path, noise: int):
    """Bytes changed anywhere: read as something else, or refused."""
    rng = np.random.default_rng(noise)
    data = bytearray(save_torch(STATE, tmp_path / "model.pth").read_bytes())
    for place in rng.integers(4, len(data), 3):
        data[place] = rng.integers(256)
    (tmp_path / "model.pth").write_bytes(data)
    with suppress(InputError):
        read(tmp_path / "model.pth")


@pytest.mark.torch
def test_what_torch_writes(tmp_path: Path):
    """Modules with their parameters, views, transposed and expanded tensors, every type; shared storages once."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4, affine=True))
    base = torch.randn(6, 8)
    state = {k: v for k, v in model.state_dict().items() if v.dtype is torch.float32}
    state |= {"half": base.half(), "bf": base.bfloat16(), "t": base.T, "view": base[1:3, ::2], "base": base}
    state |= {"parameter": torch.nn.Parameter(base[0].clone()), "scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3)}
    torch.save(state, tmp_path / "model.pth")
    expected = {name: value.detach().float().numpy() for name, value in state.items()}
    found = read(tmp_path / "model.pth")
    assert found["bf"].dtype == jnp.bfloat16 and found["half"].dtype == np.float16
    assert_identical({name: array.astype(np.float32) for name, array in found.items()}, expected)
    torch.save(OrderedDict(model.state_dict()), tmp_path / "module.pth")
    torch.save({"model_state": torch.nn.Linear(3, 4).state_dict()}, tmp_path / "wrapped.pth")
    assert open_checkpoint(tmp_path / "module.pth").entries["1.num_batches_tracked"].dtype == "I64"
    assert set(read(tmp_path / "wrapped.pth")) == {"weight", "bias"}
    torch.save(torch.nn.Linear(3, 4), tmp_path / "whole.pth")
    assert "its pickle asks for torch.nn.modules.linear.Linear" in refusal(tmp_path / "whole.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    assert "not a zip, as torch.save writes since 1.6" in refusal(tmp_path / "old.pth")


@pytest.mark.torch
def test_torch_reads_what_these_tests_write(tmp_path: Path):
    torch = pytest.importorskip("torch")
    found = torch.load(save_torch(STATE, tmp_path / "model.pth"), weights_only=True)
    assert_identical({name: value.float().numpy() for name, value in found.items()},
                     {name: array.astype(np.float32) for name, array in STATE.items()})  # fmt: skip
    assert contiguous((2, 3, 4)) == found["a"].stride() and torch_files.STORAGES
