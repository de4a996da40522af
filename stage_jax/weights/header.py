"""The header of a safetensors file: 8 bytes of length (little endian), JSON {name: {dtype, shape, data_offsets}}, then the
data without holes. Checked here in full, because a person needs to know what is wrong with a file and where.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from stage_jax.errors import InputError
from stage_jax.weights.table import Shape, printable

MOST_JSON = 1 << 24  # bytes, our choice: Wan's largest DiT takes 0.2 MB, and a bad file shall not fill the memory
MOST_AXES = 8  # our choice; weights have five at most
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16, "U16": 16,
    "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8, "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
}  # fmt: skip
# The types that weights may have here, by their names in the format.
DTYPES: dict[str, np.dtype] = {"F32": np.dtype("float32"), "F16": np.dtype("float16"), "BF16": np.dtype(jnp.bfloat16)}


@dataclass(frozen=True)
class Stored:
    """An entry of a file. name: in the file. dtype: the format's word for it, a key of `BITS`."""

    file: Path
    name: str
    shape: Shape
    dtype: str

    @property
    def nbytes(self) -> int:
        return -(-prod(self.shape) * BITS[self.dtype] // 8)


def read_header(path: Path) -> dict[str, Stored]:
    """What a safetensors file holds, by name, in the order of the data. InputError if it is none or is cut short."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > size - 8:
            raise InputError(f"{path}: not a safetensors file (a header of {length:,} bytes in a file of {size:,})")
        if length > MOST_JSON:
            raise InputError(f"{path}: its header takes {length:,} bytes, expected {MOST_JSON:,} at most")
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a safetensors file (its header is not JSON: {error})") from None
    if not isinstance(header, dict):
        raise InputError(f"{path}: not a safetensors file (its header is no JSON object)")
    header.pop("__metadata__", None)
    spans = {name: _span(path, name, item) for name, item in header.items()}
    ordered = sorted(spans, key=lambda name: spans[name])
    entries = {name: Stored(path, name, tuple(header[name]["shape"]), header[name]["dtype"]) for name in ordered}
    _check_spans(path, entries, spans, size - 8 - length)
    return entries


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _span(path: Path, name: str, item: Any) -> tuple[int, int]:
    """First byte of an entry and the one after its last, if the entry is well formed."""
    fields = item if isinstance(item, dict) else {}
    shape, span, dtype = (fields.get(key) for key in ("shape", "data_offsets", "dtype"))
    if not (are_sizes(shape) and are_sizes(span) and len(span) == 2 and isinstance(dtype, str) and dtype in BITS):
        raise InputError(f"{path}: {printable(name)}: expected a dtype, a shape and two data_offsets in its header")
    return span[0], span[1]


def are_sizes(values: Any) -> bool:
    """Numbers that an array can have: few and of 63 bits, so that their product is a matter of moments."""
    return (
        isinstance(values, list)
        and len(values) <= MOST_AXES
        and all(type(value) is int and 0 <= value < 1 << 63 for value in values)
    )


def _check_spans(path: Path, entries: dict[str, Stored], spans: dict[str, tuple[int, int]], available: int) -> None:
    for name, entry in entries.items():
        start, stop = spans[name]
        if stop - start != entry.nbytes:
            shape = list(entry.shape)
            takes = f"{entry.dtype} {shape} takes {entry.nbytes:,} bytes, found {stop - start:,}"
            raise InputError(f"{path}: {printable(name)}: {takes}")
    ends = [(0, 0), *(spans[name] for name in entries)]
    if any(stop != start for (_, stop), (start, _) in pairwise(ends)):
        raise InputError(f"{path}: not a safetensors file (its entries overlap or leave holes)")
    if ends[-1][1] != available:
        raise InputError(f"{path}: {available:,} bytes of data, its header speaks of {ends[-1][1]:,}; was it cut short?")
