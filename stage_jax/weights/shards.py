"""Safetensors files written as a stream: one array in memory at a time, however large the model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stage_jax.weights.header import DTYPES
from stage_jax.weights.places import SUFFIX

MEGABYTE = 1 << 20
Specs = Mapping[str, jax.ShapeDtypeStruct]  # name -> shape and dtype of an array
Read = Callable[[str], np.ndarray]
Tell = Callable[[int, int], None]  # bytes that are done, and of how many


@dataclass(frozen=True)
class Shard:
    """A file that was written: its name, its sha256, the entries in it."""

    name: str
    sha256: str
    entries: tuple[str, ...]


def write_shards(
    folder: Path,
    stem: str,
    specs: Specs,
    read: Read,
    *,
    limit: int | None = None,
    metadata: Mapping[str, str] | None = None,
    tell: Tell | None = None,
) -> list[Shard]:
    """Writes `STEM.safetensors`, or `STEM-00001-of-00012.safetensors` and so on if the arrays take more than `limit` bytes.

    `read` is called once for each name and returns the array that `specs` announces. The caller makes it all or nothing
    (`files.atomic_folder`).
    """
    groups, total = _groups(specs, limit), nbytes(specs)
    written, done = [], 0
    for number, group in enumerate(groups, start=1):
        name = f"{stem}-{number:05d}-of-{len(groups):05d}{SUFFIX}" if len(groups) > 1 else f"{stem}{SUFFIX}"
        # Wider types come first, so that every array is aligned to its type.
        ordered = dict(sorted(group.items(), key=lambda item: -item[1].dtype.itemsize))
        start = _header(ordered, metadata)
        digest = hashlib.sha256(start)
        with open(folder / name, "wb") as file:
            file.write(start)
            for entry, spec in ordered.items():
                data = _data(entry, spec, read)
                file.write(data)
                digest.update(data)
                done += len(data)
                if tell:
                    tell(done, total)
        written.append(Shard(name, digest.hexdigest(), tuple(ordered)))
    return written


def nbytes(specs: Specs) -> int:
    return sum(_nbytes(spec) for spec in specs.values())


def in_megabytes(label: str, step: Callable[[str, int, int], None]) -> Tell:
    """Tells `step` (as `Progress.step`) in megabytes; the last one is done when the last byte is."""

    def tell(done: int, total: int) -> None:
        of = -(-total // MEGABYTE)
        step(f"{label} (MB)", of if done == total else min(done // MEGABYTE, of - 1), of)

    return tell


def file_sha256(path: Path, tell: Callable[[int], None] | None = None) -> str:
    """tell: is told of every piece how many bytes it had."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(4 * MEGABYTE):
            digest.update(piece)
            if tell:
                tell(len(piece))
    return digest.hexdigest()


def joint_sha256(hashes: Mapping[str, str]) -> str:
    """Of several files, by the names that they have."""
    return hashlib.sha256("".join(f"{name} {hashes[name]}\n" for name in sorted(hashes)).encode()).hexdigest()


def files_sha256(paths: Sequence[Path]) -> str:
    """Of the files of one part: the hash of the only one, or the joint one."""
    hashes = {path.name: file_sha256(path) for path in paths}
    return joint_sha256(hashes) if len(hashes) > 1 else next(iter(hashes.values()))


def _groups(specs: Specs, limit: int | None) -> list[dict[str, jax.ShapeDtypeStruct]]:
    """The arrays of each file; one array larger than `limit` has a file of its own."""
    groups: list[dict[str, jax.ShapeDtypeStruct]] = [{}]
    room = limit
    for name, spec in specs.items():
        if room is not None and groups[-1] and _nbytes(spec) > room:
            groups.append({})
            room = limit
        groups[-1][name] = spec
        room = None if room is None else room - _nbytes(spec)
    return groups


def _header(specs: Specs, metadata: Mapping[str, str] | None) -> bytes:
    words = {dtype: word for word, dtype in DTYPES.items()} | {np.dtype(np.uint8): "U8"}
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    start = 0
    for name, spec in specs.items():
        span = [start, start + _nbytes(spec)]
        header[name] = {"dtype": words[np.dtype(spec.dtype)], "shape": list(spec.shape), "data_offsets": span}
        start = span[1]
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _data(name: str, spec: jax.ShapeDtypeStruct, read: Read) -> memoryview:
    array = np.asarray(read(name), order="C")
    if (array.shape, array.dtype) != (spec.shape, np.dtype(spec.dtype)):
        raise ValueError(f"{name}: read {array.dtype}{array.shape}, announced {spec}")
    return memoryview(array.reshape(-1).view(np.uint8))


def _nbytes(spec: jax.ShapeDtypeStruct) -> int:
    return prod(spec.shape) * np.dtype(spec.dtype).itemsize
