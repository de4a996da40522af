"""Files as torch.save writes them, made without torch: its pickle instruction by instruction, its zip member by member."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

STORAGES = {
    "float32": "FloatStorage", "float16": "HalfStorage", "bfloat16": "BFloat16Storage", "int64": "LongStorage",
    "uint8": "ByteStorage", "float64": "DoubleStorage",
}  # fmt: skip
ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def whole(value: int) -> bytes:
    return b"J" + struct.pack("<i", value) if value < 1 << 31 else b"\x8a\x08" + struct.pack("<q", value)


def sizes(values: tuple[int, ...]) -> bytes:
    return b"(" + b"".join(map(whole, values)) + b"t"


def tensor(key: str, storage: str, size: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    """What rebuilds one, with the storage by its persistent id."""
    identity = b"(" + text("storage") + f"ctorch\n{storage}\n".encode() + text(key) + text("cpu") + whole(size) + b"tQ"
    arguments = identity + whole(offset) + sizes(shape) + sizes(strides) + b"\x89" + ORDERED
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def pickled(items: Mapping[str, bytes]) -> bytes:
    """A state dict with these values, as OrderedDict with the _metadata that torch hangs on it."""
    pairs = b"".join(text(name) + value for name, value in items.items())
    return b"\x80\x02" + ORDERED + b"(" + pairs + b"u" + b"}" + text("_metadata") + ORDERED + b"sb" + b"."


def contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))


def members(state: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """The members of the zip, each array in a storage of its own."""
    items, found = {}, {"byteorder": b"little", "version": b"3\n"}
    for i, (name, array) in enumerate(state.items()):
        items[name] = tensor(str(i), STORAGES[array.dtype.name], array.size, 0, array.shape, contiguous(array.shape))
        found[f"data/{i}"] = np.ascontiguousarray(array).tobytes()
    return {"data.pkl": pickled(items)} | found


def write_zip(path: Path, files: Mapping[str, bytes], *, root: str = "archive", packed: bool = False) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as archive:
        for name, data in files.items():
            archive.writestr(f"{root}/{name}", data)
    return path


def save_torch(state: Mapping[str, np.ndarray], path: Path) -> Path:
    return write_zip(path, members(state))
