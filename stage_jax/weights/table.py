"""A table of ``torch pattern -> our path, permutation``, read in both directions.

``{i}`` in a pattern stands for a layer number. Our side is unstacked: ``blocks.3.ffn.up.kernel``. The torch side has the
names of the original code and, where an entry gives them, those of diffusers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
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
    """Our path -> (its entry, its torch name), for every path of `abstract`, by names and shapes alone.

    abstract: our paths with anything that has the expected ``shape``. InputError, one line, names all entries that are
    missing, unknown or of another shape than expected at once.
    """
    found: dict[str, tuple[Entry, str]] = {}
    wrong: list[str] = []
    for name, shape in shapes.items():
        known = _translate(name, table, lambda entry: entry.name(naming), lambda entry: entry.ours)
        if known is None or known[1] not in abstract:
            wrong.append(f"{name} is not known")
            continue
        entry, path = known
        expected = entry.torch_shape(tuple(abstract[path].shape))
        if tuple(shape) != expected:
            wrong.append(f"{name} is {list(shape)}, expected {list(expected)}")
        found[path] = (entry, name)
    wrong += [f"{torch_name(path, table, naming) or path} is missing" for path in abstract if path not in found]
    if wrong:
        raise InputError(f"{where}: {len(wrong)} entries do not fit: {'; '.join(wrong)}")
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
    """The inverse of `from_torch`. InputError names all paths that the table does not know."""
    state: dict[str, np.ndarray] = {}
    unknown: list[str] = []
    for path, array in params.items():
        found = _translate(path, table, lambda entry: entry.ours, lambda entry: entry.name(naming))
        if found is None:
            unknown.append(path)
        else:
            state[found[1]] = np.ascontiguousarray(found[0].to_torch(np.asarray(array)))
    if unknown:
        raise InputError(f"{where}: no torch name for {', '.join(unknown)}")
    return state


def torch_name(path: str, table: Table, naming: Naming = "original") -> str | None:
    """The torch name of one of our paths, or None if the table does not know it."""
    found = _translate(path, table, lambda entry: entry.ours, lambda entry: entry.name(naming))
    return found[1] if found else None


def _translate(
    name: str, table: Table, source: Callable[[Entry], str], target: Callable[[Entry], str]
) -> tuple[Entry, str] | None:
    """The entry whose pattern is this name, with its name on the other side."""
    for entry in table:
        pattern = re.escape(source(entry)).replace(re.escape("{i}"), r"(?P<i>\d+)")
        if found := re.fullmatch(pattern, name):
            return entry, target(entry).replace("{i}", found.groupdict().get("i") or "")
    return None
