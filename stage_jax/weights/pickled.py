"""Files of `torch.save` (`.pth`): a zip of data.pkl, which describes the tensors, and of one member for each storage.

No pickle is run (`torch_pickle`) and no torch is needed. Members are stored, not compressed, so that an array is read from its
place in the file: memory holds that one alone.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Shaped

from stage_jax.errors import InputError
from stage_jax.weights.header import BITS, DTYPES, MOST_JSON, Stored
from stage_jax.weights.table import Shape, printable
from stage_jax.weights.torch_pickle import Tensor, read_state_dict

START = b"PK\x03\x04"  # of a zip and of every member's own header
_PICKLE = "data.pkl"
_LOCAL = struct.Struct("<4s22xHH")  # a member's own header: START, ..., lengths of its name and of its extra field


@dataclass(frozen=True)
class Strided(Stored):
    """An entry somewhere in a file. start: its first byte. strides: in elements. span: elements from its first to its last."""

    start: int
    strides: Shape
    span: int

    def read(self) -> Shaped[np.ndarray, "..."]:
        """The array, in C order. InputError if the file has become shorter."""
        dtype = DTYPES[self.dtype]
        data = np.fromfile(self.file, np.uint8, self.span * dtype.itemsize, offset=self.start)
        if data.size != self.span * dtype.itemsize:
            raise InputError(f"{self.file}: {printable(self.name)} cannot be read (the file ends before it does)")
        strides = tuple(stride * dtype.itemsize for stride in self.strides)
        return np.asarray(np.ndarray(self.shape, dtype, data, strides=strides), order="C")


def read_pickled(path: Path) -> dict[str, Stored]:
    """What a torch file holds, by name, in the order of the data. InputError for what is cut short, compressed, of big-endian
    numbers or no state dict, and for a pickle that asks for anything but tensors."""
    with open(path, "rb") as file:
        members = _members(path, file)
        folder = _folder(path, members)
        pickle = members[f"{folder}/{_PICKLE}"]
        if pickle.file_size > MOST_JSON:
            raise InputError(f"{path}: its {_PICKLE} takes {pickle.file_size:,} bytes, expected {MOST_JSON:,} at most")
        if order := members.get(f"{folder}/byteorder"):
            _check_order(path, _bytes(path, file, order))
        tensors = read_state_dict(_bytes(path, file, pickle), path)
        entries: dict[str, Strided] = {}
        for name, tensor in tensors.items():
            start = _storage_start(path, file, members, folder, name, tensor) + tensor.offset * BITS[tensor.dtype] // 8
            entries[name] = Strided(path, name, tensor.shape, tensor.dtype, start, tensor.strides, tensor.span)
    return dict(sorted(entries.items(), key=lambda item: item[1].start))


def _members(path: Path, file: BinaryIO) -> dict[str, zipfile.ZipInfo]:
    try:
        listed = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError) as error:
        raise InputError(f"{path}: not a file of torch.save ({printable(str(error))}); was it cut short?") from None
    members = {member.filename: member for member in listed}
    if len(members) != len(listed):
        raise InputError(f"{path}: not a file of torch.save (two of its members have one name)")
    return members


def _folder(path: Path, members: Mapping[str, zipfile.ZipInfo]) -> str:
    """The folder in the zip that everything is in; torch gives it any name."""
    folders = [name.removesuffix(f"/{_PICKLE}") for name in members if name.endswith(f"/{_PICKLE}")]
    if len(folders) != 1:
        raise InputError(f"{path}: a zip with {len(folders)} members {_PICKLE}, expected one, as torch.save writes it")
    if any(name.startswith((f"{folders[0]}/code/", f"{folders[0]}/constants.pkl")) for name in members):
        raise InputError(f"{path}: a TorchScript program, expected the tensors of a state dict")
    return folders[0]


def _check_order(path: Path, order: bytes) -> None:
    if order != b"little":
        raise InputError(f"{path}: its byteorder is {printable(repr(order))}, expected little")


def _start(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """The first byte of a member's data. InputError unless all of it is there as it is."""
    name = printable(member.filename)
    if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size or member.flag_bits & 1:
        raise InputError(f"{path}: its member {name} is compressed or encrypted, expected it stored, as torch.save does")
    if not 0 <= member.header_offset < path.stat().st_size:
        raise InputError(f"{path}: its member {name} is not where the zip says; was it cut short?")
    file.seek(member.header_offset)
    header = file.read(_LOCAL.size)
    sizes = _LOCAL.unpack(header) if len(header) == _LOCAL.size else (b"", 0, 0)
    start = member.header_offset + _LOCAL.size + sizes[1] + sizes[2]
    if sizes[0] != START or start + member.file_size > path.stat().st_size:
        raise InputError(f"{path}: its member {name} is not where the zip says; was it cut short?")
    return start


def _bytes(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    file.seek(_start(path, file, member))
    return file.read(min(member.file_size, MOST_JSON))


def _storage_start(
    path: Path, file: BinaryIO, members: Mapping[str, zipfile.ZipInfo], folder: str, name: str, tensor: Tensor
) -> int:
    member = members.get(f"{folder}/data/{tensor.storage}")
    if member is None:
        raise InputError(f"{path}: {printable(name)}: its data, {printable(tensor.storage)}, are not in the zip")
    if member.file_size != (size := tensor.size * BITS[tensor.dtype] // 8):
        raise InputError(f"{path}: {printable(name)}: found {member.file_size:,} bytes of data, expected {size:,}")
    return _start(path, file, member)
