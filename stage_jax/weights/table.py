"""A table of ``torch pattern -> our path, permutation``, read in both directions.

``{i}`` in a pattern stands for a layer number. Our side is unstacked: ``blocks.3.ffn.up.kernel``. The torch side has the
names of the original code and, where an entry gives them, those of diffusers.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from stage_jax.errors import InputError

Naming = Literal["original", "diffusers"]
Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Entry:
    """permutation: of the torch array's axes into ours, as `numpy.transpose` takes it; None keeps them. ones: axes of size
    1 that only the torch array has, at its end, and that `permutation` does not count. diffusers: the name there, where it
    is another."""

    torch: str
    ours: str
    permutation: tuple[int, ...] | None = None
    ones: int = 0
    diffusers: str | None = None

    def name(self, naming: Naming) -> str:
        return self.torch if naming == "original" or self.diffusers is None else self.diffusers

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        array = array.reshape(array.shape[: array.ndim - self.ones])
        return array if self.permutation is None else np.transpose(array, self.permutation)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        array = array if self.permutation is None else np.transpose(array, np.argsort(self.permutation))
        return array.reshape(array.shape + (1,) * self.ones)

    def torch_shape(self, ours: Shape) -> Shape:
        """The shape of the torch array of a parameter that has the shape `ours` here."""
        kept = ours if self.permutation is None else tuple(ours[i] for i in np.argsort(self.permutation))
        return kept + (1,) * self.ones


Table: TypeAlias = tuple[Entry, ...]
LINEAR = (1, 0)
MOST_NAMED = 30  # faults that one line names; our choice
MOST_SHOWN = 200  # characters of a name or value in a message; our choice


def linear(torch: str, ours: str, *, bias: bool = True, diffusers: str | None = None) -> Table:
    """A torch Linear [out, in] and our kernel [in, out]."""
    there = diffusers or torch
    weight = Entry(f"{torch}.weight", f"{ours}.kernel", LINEAR, diffusers=f"{there}.weight")
    return (weight, Entry(f"{torch}.bias", f"{ours}.bias", diffusers=f"{there}.bias")) if bias else (weight,)


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
    patterns = _by_pattern(table, naming)
    for name, shape in shapes.items():
        known = _find(name, patterns)
        path = known[0].ours.replace("{i}", known[1]) if known else None
        if known is None or path not in abstract:
            wrong.append(f"{printable(name)} is not known")
            continue
        entry = known[0]
        expected = entry.torch_shape(tuple(abstract[path].shape))
        if tuple(shape) != expected:
            wrong.append(f"{name} is {list(shape)}, expected {list(expected)}")
        found[path] = (entry, name)
    wrong += [f"{torch_name(path, table, naming) or path} is missing" for path in abstract if path not in found]
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
    return {path: np.ascontiguousarray(entry.to_ours(arrays[name])) for path, (entry, name) in matched.items()}


def to_torch(
    params: Mapping[str, Any], table: Table, where: str = "parameters", naming: Naming = "original"
) -> dict[str, np.ndarray]:
    """The inverse of `from_torch`. InputError names the paths that the table does not know."""
    named = torch_entries(params, table, where, naming)
    return {name: np.ascontiguousarray(entry.to_torch(np.asarray(params[path]))) for path, (entry, name) in named.items()}


def torch_entries(
    paths: Iterable[str], table: Table, where: str = "parameters", naming: Naming = "original"
) -> dict[str, tuple[Entry, str]]:
    """Our path -> (its entry, its torch name). InputError names the paths that the table does not know."""
    patterns = _by_pattern(table, None)
    found = {path: _find(path, patterns) for path in paths}
    if unknown := [path for path, known in found.items() if known is None]:
        raise InputError(f"{where}: no torch name for {listed(unknown, ', ')}")
    known = {path: pair for path, pair in found.items() if pair is not None}
    return {path: (entry, entry.name(naming).replace("{i}", number)) for path, (entry, number) in known.items()}


def likely_naming(names: Collection[str], table: Table) -> tuple[Naming, int]:
    """The naming in which the table knows most of these entries of a torch state dict, and how many of them."""
    namings: tuple[Naming, Naming] = ("original", "diffusers")
    patterns = {naming: _by_pattern(table, naming) for naming in namings}
    counts = {naming: sum(_find(name, patterns[naming]) is not None for name in names) for naming in namings}
    best = max(namings, key=lambda naming: counts[naming])
    return best, counts[best]


def torch_name(path: str, table: Table, naming: Naming = "original") -> str | None:
    """The torch name of one of our paths, or None if the table does not know it."""
    found = _find(path, _by_pattern(table, None))
    return found[0].name(naming).replace("{i}", found[1]) if found else None


def our_path(name: str, table: Table, naming: Naming = "original") -> str | None:
    """Our path of a torch name, or None if the table does not know it."""
    found = _find(name, _by_pattern(table, naming))
    return found[0].ours.replace("{i}", found[1]) if found else None


def _by_pattern(table: Table, naming: Naming | None) -> dict[str, Entry]:
    """The entries by their pattern in a naming, None for ours."""
    return {entry.ours if naming is None else entry.name(naming): entry for entry in table}


def _find(name: str, patterns: Mapping[str, Entry]) -> tuple[Entry, str] | None:
    """The entry whose pattern is this name, with the number that stands for its {i}."""
    if name in patterns:
        return patterns[name], ""
    parts = name.split(".")
    for i, part in enumerate(parts):
        if part.isdecimal() and (entry := patterns.get(".".join([*parts[:i], "{i}", *parts[i + 1 :]]))):
            return entry, part
    return None


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
