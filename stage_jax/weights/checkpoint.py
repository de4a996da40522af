"""Checkpoints: the named arrays of one or several files, safetensors or torch's own, read one at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError, safe_open

from stage_jax.errors import InputError
from stage_jax.weights.header import DTYPES, Stored, read_header
from stage_jax.weights.pickled import START, Strided, read_pickled
from stage_jax.weights.places import PICKLES, Place, find
from stage_jax.weights.table import Shape, printable

PREFIXES = ("model.diffusion_model.", "diffusion_model.")  # of ComfyUI's files


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """where: what was opened, for messages. entries: by name without prefix, in the order of the files. config: what the
    config.json beside says, {} if there is none. files: that hold the entries."""

    where: Path
    entries: Mapping[str, Stored]
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    _open: dict[Path, Any] = field(default_factory=dict, repr=False)

    @property
    def shapes(self) -> dict[str, Shape]:
        return {name: entry.shape for name, entry in self.entries.items()}

    def read(self, name: str) -> Shaped[np.ndarray, "..."]:
        """One array, bit for bit as it is stored (bfloat16 as JAX has it), and the only copy."""
        entry = self.entries[name]
        if entry.dtype not in DTYPES:
            raise InputError(f"{entry.file}: {printable(entry.name)} is {entry.dtype}, expected {', '.join(DTYPES)}")
        if isinstance(entry, Strided):
            return entry.read()
        return self._tensor(entry)

    def read_bytes(self, name: str, most: int) -> bytes:
        """A file that is kept among the arrays, as numbers U8. InputError for another form, and beyond `most` bytes."""
        entry = self.entries[name]
        if entry.dtype != "U8" or len(entry.shape) != 1 or not 0 < entry.nbytes <= most or isinstance(entry, Strided):
            found, expected = f"{entry.dtype} {list(entry.shape)}", f"1 to {most:,} bytes in a row, U8, in a safetensors file"
            raise InputError(f"{entry.file}: {printable(entry.name)} is {found}, expected {expected}")
        return self._tensor(entry).tobytes()

    def _tensor(self, entry: Stored) -> Shaped[np.ndarray, "..."]:
        try:
            if entry.file not in self._open:
                self._open[entry.file] = safe_open(entry.file, framework="np")
            return self._open[entry.file].get_tensor(entry.name)
        except SafetensorError as error:
            raise InputError(f"{entry.file}: {printable(entry.name)} cannot be read ({error})") from None


def open_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a folder (Wan's own, or diffusers' of one transformer) or in one file. Reads headers only.

    InputError for whatever is no such thing, names files outside the folder, or holds a name twice or not at all.
    """
    return open_place(find(path))


def open_place(place: Place) -> Checkpoint:
    """The checkpoint whose files these are."""
    entries = _gather(place.files)
    if place.index is not None:
        _check_index(place, entries)
    return Checkpoint(place.path, _without_prefix(place.path, entries), place.config, place.files)


def open_files(where: Path, files: Iterable[Path], config: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint that exactly these files are."""
    files = tuple(files)
    return Checkpoint(where, _gather(files), config, files)


def _entries(path: Path) -> dict[str, Stored]:
    """What a file holds. Its first bytes tell what it is, not its name."""
    with open(path, "rb") as file:
        start = file.read(len(START))
    if start == START:
        return read_pickled(path)
    if path.suffix.lower() in PICKLES:
        raise InputError(f"{path}: not a zip, as torch.save writes since 1.6; older pickles are not read")
    return read_header(path)


def _gather(files: Iterable[Path]) -> dict[str, Stored]:
    entries: dict[str, Stored] = {}
    for file in files:
        header = _entries(file)
        if twice := header.keys() & entries.keys():
            name = min(twice)
            raise InputError(f"{file}: {printable(name)} is in {entries[name].file.name} too ({len(twice)} such entries)")
        entries |= header
    return entries


def _check_index(place: Place, entries: Mapping[str, Stored]) -> None:
    """The index and the files that it names have to say the same."""
    found = {name: entry.file.name for name, entry in entries.items()}
    if differ := sorted(name for name, _ in found.items() ^ place.weight_map.items()):
        name = differ[0]
        says, is_in = (names.get(name, "no file") for names in (place.weight_map, found))
        count = len(set(differ))
        name, is_in, says = map(printable, (name, is_in, says))
        raise InputError(f"{place.index}: {name} is in {is_in}, the index says {says} ({count} such entries)")


def _without_prefix(where: Path, entries: dict[str, Stored]) -> dict[str, Stored]:
    for prefix in PREFIXES:
        if any(name.startswith(prefix) for name in entries):
            if others := [name for name in entries if not name.startswith(prefix)]:
                raise InputError(f"{where}: holds more than one model: {printable(others[0])} beside {prefix}*")
            return {name.removeprefix(prefix): entry for name, entry in entries.items()}
    return entries
