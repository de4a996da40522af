"""Headers of safetensors files: what is in a file, and one clear line for every way in which it is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from stage_jax.errors import InputError
from stage_jax.weights.header import MOST_JSON, Stored, read_header

A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def pack(header: object, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: object) -> dict:
    return {"a": A | changes}


def test_entries_in_the_order_of_the_data(tmp_path: Path):
    path = tmp_path / "x.safetensors"
    save_file({"b": np.zeros((2, 3), np.float16), "a": np.zeros((), np.float32)}, path, {"format": "pt"})
    assert read_header(path) == {"a": Stored(path, "a", (), "F32"), "b": Stored(path, "b", (2, 3), "F16")}
    assert list(read_header(path)) == ["a", "b"] and read_header(path)["b"].nbytes == 12


WRONG = {
    "empty": (b"", "a header of 0 bytes in a file of 0"),
    "too short": (b"\x01\0\0", "not a safetensors file"),
    "longer than the file": (pack({}, length=3), "a header of 3 bytes in a file of 10"),
    "absurdly long": ((10**15).to_bytes(8, "little") + b"{}", "a header of 1,000,000,000,000,000 bytes in a file of 10"),
    "random": (bytes(range(256)), "not a safetensors file"),
    "a pickle": (b"PK\x03\x04archive/data.pkl" + bytes(100), "not a safetensors file"),
    "no JSON": (pack(b"not json"), "its header is not JSON"),
    "no text": (pack(b"\xff\xfe{}"), "its header is not JSON"),
    "too deep": (pack(b"[" * 100_000), "its header is not JSON"),
    "a list": (pack([]), "no JSON object"),
    "a name twice": (pack(b'{"a": 1, "a": 2}'), "a name stands in it twice"),
    "no shape": (pack({"a": {"dtype": "F32", "data_offsets": [0, 0]}}), "a: expected a dtype, a shape"),
    "no entry": (pack({"a": 7}), "a: expected a dtype, a shape"),
    "an unknown type": (pack(entry(dtype="F31"), bytes(8)), "a: expected a dtype"),
    "a type of another type": (pack(entry(dtype=["F32"]), bytes(8)), "a: expected a dtype"),
    "a negative size": (pack(entry(shape=[-2]), bytes(8)), "a: expected a dtype, a shape"),
    "half a number": (pack(entry(shape=[2.0]), bytes(8)), "a: expected a dtype, a shape"),
    "a truth as a size": (pack(entry(shape=[True]), bytes(8)), "a: expected a dtype, a shape"),
    "one offset": (pack(entry(data_offsets=[0]), bytes(8)), "two data_offsets"),
    "backwards": (pack(entry(data_offsets=[8, 0]), bytes(8)), r"F32 \[2\] takes 8 bytes, found -8"),
    "more than its span": (pack(entry(shape=[3]), bytes(8)), r"F32 \[3\] takes 12 bytes, found 8"),
    "an astronomic shape": (pack(entry(shape=[2**62, 2**62]), bytes(8)), r"takes 85,070,\d+,[\d,]+ bytes, found 8"),
    "numbers of 64 bits": (pack(entry(shape=[2**63]), bytes(8)), "a: expected a dtype, a shape"),
    "numbers of 4000 digits": (pack(entry(shape=[10**3999, 10**3999]), bytes(8)), "a: expected a dtype, a shape"),
    "an end of 4000 digits": (pack(entry(data_offsets=[0, 10**3999]), bytes(8)), "a: expected a dtype, a shape"),
    "a million axes": (pack(entry(shape=[2**62] * 500_000), bytes(8)), "a: expected a dtype, a shape"),
    "nine axes": (pack(entry(shape=[1] * 8 + [2]), bytes(8)), "a: expected a dtype, a shape"),
    "a name of two lines": (pack({"a\nb": 7}), r"'a\\nb': expected a dtype"),
    "a long name": (pack({"a" * 9999: 7}), r"'a{199}\.\.\.: expected a dtype"),
    "a hole": (pack(entry(data_offsets=[4, 12]), bytes(12)), "overlap or leave holes"),
    "two in one place": (pack({"a": A, "b": A}, bytes(8)), "overlap or leave holes"),
    "cut short": (pack({"a": A}, bytes(7)), "7 bytes of data, its header speaks of 8; was it cut short"),
    "more data than named": (pack({"a": A}, bytes(9)), "9 bytes of data, its header speaks of 8"),
}


@pytest.mark.parametrize("case", WRONG)
def test_refusals(tmp_path: Path, case: str):
    data, message = WRONG[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_header(path)
    assert str(caught.value).startswith(f"{path}: ") and "\n" not in str(caught.value)


def test_a_long_header_is_not_read(tmp_path: Path):
    """A header that fits its file but would take gigabytes as JSON: refused by its length."""
    path = tmp_path / "x.safetensors"
    with open(path, "wb") as file:
        file.write((MOST_JSON + 1).to_bytes(8, "little"))
        file.truncate(2 * MOST_JSON)
    with pytest.raises(InputError, match="expected 16,777,216 at most"):
        read_header(path)
