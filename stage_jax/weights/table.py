"""A table of ``torch pattern -> our path, permutation``, read in both directions.

``{i}`` in a pattern stands for a layer number. Our side is unstacked: ``blocks.3.ffn.up.kernel``. The torch side has the
names of the original code and, where an entry gives them, those of diffusers (of transformers, for the encoders that
diffusers takes from there). One torch array may hold several of ours, as the original CLIP's ``to_qkv`` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import jax
import numpy as np

from stage_jax.errors import InputError

Naming = Literal["original", "diffusers"]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """permutation: of the torch array's axes into ours, as `numpy.transpose` takes it; None keeps them. ones, leading_ones:
    axes of size 1 that only the torch array has, at its end and at its start, and that `permutation` does not count.
    diffusers: the name there, where it is another. only: the one naming that this entry is of, where the other has another
    entry for this path of ours, or none. piece: (1, 3) for the second of three equal pieces of the torch array's first axis,
    where several of our arrays share it. ours: None for what a checkpoint may have and we do not read. alias: this name is
    read, another entry has the one that is written."""

    torch: str
    ours: str | None
    permutation: tuple[int, ...] | None = None
    ones: int = 0
    diffusers: str | None = None
    leading_ones: int = 0
    only: Naming | None = None
    piece: tuple[int, int] | None = None
    alias: bool = False

    def name(self, naming: Naming) -> str:
        return self.torch if naming == "original" or self.diffusers is None else self.diffusers

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """Of the whole torch array."""
        if self.piece is not None:
            array = np.split(array, self.piece[1])[self.piece[0]]
        array = array.reshape(array.shape[self.leading_ones : array.ndim - self.ones])
        return array if self.permutation is None else np.transpose(array, self.permutation)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """The torch array, or its piece (see `join`)."""
        array = array if self.permutation is None else np.transpose(array, np.argsort(self.permutation))
        return array.reshape((1,) * self.leading_ones + array.shape + (1,) * self.ones)

    def torch_shape(self, ours: Shape) -> Shape:
        """The shape of the whole torch array of a parameter that has the shape `ours` here."""
        kept = ours if self.permutation is None else tuple(ours[i] for i in np.argsort(self.permutation))
        shape = (1,) * self.leading_ones + kept + (1,) * self.ones
        return shape if self.piece is None else (shape[0] * self.piece[1], *shape[1:])


Table: TypeAlias = tuple[Entry, ...]
LINEAR = (1, 0)
MOST_NAMED = 30  # faults that one line names; our choice
MOST_SHOWN = 200  # characters of a name or value in a message; our choice


def linear(torch: str, ours: str, *, bias: bool = True, diffusers: str | None = None) -> Table:
    """A torch Linear [out, in] and our kernel [in, out]."""
    there = diffusers or torch
    weight = Entry(f"{torch}.weight", f"{ours}.kernel", LINEAR, diffusers=f"{there}.weight")
    return (weight, Entry(f"{torch}.bias", f"{ours}.bias", diffusers=f"{there}.bias")) if bias else (weight,)


def unread(torch: str, *, diffusers: str | None = None, only: Naming | None = None) -> Entry:
    """What a checkpoint may have and we do not read: it is in neither direction of the conversion."""
    return Entry(torch, None, diffusers=diffusers, only=only)


def match(
    shapes: Mapping[str, Shape],
    table: Table,
    abstract: Mapping[str, Any],
    where: str = "state dict",
    naming: Naming = "original",
) -> dict[str, tuple[Entry, str]]:
    """Our path -> (its entry, its torch name), for every path of `abstract`, by names and shapes alone, in the order of
    `shapes`.

    abstract: our paths with anything that has the expected ``shape``. InputError, one line, names the entries that are
    missing, unknown or of another shape than expected at once.
    """
    found: dict[str, tuple[Entry, str]] = {}
    wrong: list[str] = []
    patterns = _by_torch(table, naming)
    for name, shape in shapes.items():
        entries, number = _find(name, patterns)
        paths = {_path(entry, number): entry for entry in entries}
        if not entries or (None not in paths and not paths.keys() & abstract.keys()):
            wrong.append(f"{printable(name)} is not known")
            continue
        for path, entry in paths.items():
            if path is None or path not in abstract:
                continue
            expected = entry.torch_shape(tuple(abstract[path].shape))
            if tuple(shape) != expected:
                wrong.append(f"{name} is {list(shape)}, expected {list(expected)}")
            if path in found:
                wrong.append(f"{name} is there beside {found[path][1]}")
            found[path] = (entry, name)
    wrong += [f"{torch_name(path, table, naming) or path} is missing" for path in abstract if path not in found]
    wrong = list(dict.fromkeys(wrong))  # the pieces of one torch array have the same faults
    if wrong:
        raise InputError(f"{where}: {len(wrong)} entries do not fit: {listed(wrong, '; ')}")
    return found


def from_torch(
    state: Mapping[str, Any],
    table: Table,
    abstract: Mapping[str, Any],
    where: str = "state dict",
    naming: Naming = "original",
) -> dict[str, np.ndarray]:
    """Torch entries -> our flat parameters (numpy, C order). InputError as `match`."""
    arrays = {name: np.asarray(array) for name, array in state.items()}
    matched = match({name: array.shape for name, array in arrays.items()}, table, abstract, where, naming)
    return {path: np.asarray(entry.to_ours(arrays[name]), order="C") for path, (entry, name) in matched.items()}


def to_torch(
    params: Mapping[str, Any], table: Table, where: str = "parameters", naming: Naming = "original"
) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`. InputError as `torch_entries`."""
    named = torch_entries(params, table, where, naming)
    return {
        name: np.asarray(join([(entry, np.asarray(params[path])) for entry, path in pieces]), order="C")
        for name, pieces in named.items()
    }


def join(pieces: Sequence[tuple[Entry, np.ndarray]]) -> np.ndarray:
    """The torch array of our arrays that share it, in the order of `torch_entries`; of the only one, where there is one.
    TypeError for arrays of several types, which would not come back as they were."""
    arrays = [entry.to_torch(array) for entry, array in pieces]
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays, dtype=arrays[0].dtype, casting="no")


def torch_spec(name: str, pieces: Sequence[tuple[Entry, Any]], where: str = "parameters") -> jax.ShapeDtypeStruct:
    """Shape and type of what `join` makes of these, which have a ``shape`` and a ``dtype``. InputError for several types."""
    types = sorted({str(leaf.dtype) for _, leaf in pieces})
    if len(types) > 1:
        raise InputError(f"{where}: {name}: found pieces of the types {', '.join(types)}, expected one type")
    entry, leaf = pieces[0]
    return jax.ShapeDtypeStruct(entry.torch_shape(tuple(leaf.shape)), leaf.dtype)


def torch_entries(
    paths: Iterable[str], table: Table, where: str = "parameters", naming: Naming = "original"
) -> dict[str, list[tuple[Entry, str]]]:
    """Torch name -> the entries and our paths of all its pieces, in their order; mostly it is one. InputError names the
    paths that the table does not know, and the torch arrays that would lack a piece."""
    patterns = _by_ours(table, naming)
    found = {path: _find(path, patterns) for path in paths}
    if unknown := [path for path, (entries, _) in found.items() if not entries]:
        raise InputError(f"{where}: no torch name for {listed(unknown, ', ')}")
    named: dict[str, list[tuple[Entry, str]]] = {}
    for path, ((entry,), number) in found.items():
        named.setdefault(entry.name(naming).replace("{i}", number), []).append((entry, path))
    for name, pieces in named.items():
        pieces.sort(key=lambda pair: pair[0].piece or (0, 1))
        if [entry.piece or (0, 1) for entry, _ in pieces] != [(i, len(pieces)) for i in range(len(pieces))]:
            raise InputError(f"{where}: {name} needs more than {listed([path for _, path in pieces], ', ')}")
    return named


def likely_naming(names: Collection[str], table: Table) -> tuple[Naming, int]:
    """The naming in which the table knows most of these entries of a torch state dict, and how many of them."""
    namings: tuple[Naming, Naming] = ("original", "diffusers")
    patterns = {naming: _by_torch(table, naming) for naming in namings}
    counts = {naming: sum(bool(_find(name, patterns[naming])[0]) for name in names) for naming in namings}
    best = max(namings, key=lambda naming: counts[naming])
    return best, counts[best]


def torch_name(path: str, table: Table, naming: Naming = "original") -> str | None:
    """The torch name of one of our paths, or None if the table does not know it."""
    entries, number = _find(path, _by_ours(table, naming))
    return entries[0].name(naming).replace("{i}", number) if entries else None


def our_paths(name: str, table: Table, naming: Naming = "original") -> list[str]:
    """Our paths of a torch name: several where they share its array, none if the table does not know it."""
    entries, number = _find(name, _by_torch(table, naming))
    return [path for entry in entries if (path := _path(entry, number)) is not None]


def _path(entry: Entry, number: str) -> str | None:
    return None if entry.ours is None else entry.ours.replace("{i}", number)


def _by_torch(table: Table, naming: Naming) -> dict[str, list[Entry]]:
    """The entries of a naming by their torch pattern."""
    patterns: dict[str, list[Entry]] = {}
    for entry in table:
        if entry.only in (None, naming):
            patterns.setdefault(entry.name(naming), []).append(entry)
    return patterns


def _by_ours(table: Table, naming: Naming) -> dict[str, list[Entry]]:
    """The one entry of a naming by our pattern: the one whose name is written."""
    written = [entry for entry in table if entry.only in (None, naming) and not entry.alias]
    return {entry.ours: [entry] for entry in written if entry.ours is not None}


def _find(name: str, patterns: Mapping[str, list[Entry]]) -> tuple[list[Entry], str]:
    """The entries whose pattern is this name, with the number that stands for their {i}."""
    if name in patterns:
        return patterns[name], ""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdecimal() and (entries := patterns.get(".".join([*parts[:i], "{i}", *parts[i + 1 :]]))):
            return entries, part
    return [], ""


def listed(names: Sequence[str], separator: str) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return separator.join(map(printable, names[:MOST_NAMED])) + more


def printable(text: str) -> str:
    """The text as it is if it fits into a line of a message, else as Python writes it, cut. What was cut once and has some
    words more stays as it is."""
    return text if text.isprintable() and len(text) <= 2 * MOST_SHOWN else shown(text)


def shown(value: object) -> str:
    """What a file says, as Python writes it, cut."""
    text = repr(value)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
