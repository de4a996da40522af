"""A table of ``torch pattern -> our path, permutation``, read in both directions.

``{i}`` in a pattern stands for a layer number. Our side is unstacked: ``blocks.3.ffn.up.kernel``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from stage_jax.errors import InputError


@dataclass(frozen=True)
class Entry:
    """permutation: of the torch array's axes into ours, as `numpy.transpose` takes it; None keeps them. ones: axes of size
    1 that only the torch array has, at its end, and that `permutation` does not count."""

    torch: str
    ours: str
    permutation: tuple[int, ...] | None = None
    ones: int = 0

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        array = array.reshape(array.shape[: array.ndim - self.ones])
        return array if self.permutation is None else np.transpose(array, self.permutation)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        array = array if self.permutation is None else np.transpose(array, np.argsort(self.permutation))
        return array.reshape(array.shape + (1,) * self.ones)

    def torch_shape(self, ours: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of the torch array of a parameter that has the shape `ours` here."""
        kept = ours if self.permutation is None else tuple(ours[i] for i in np.argsort(self.permutation))
        return kept + (1,) * self.ones


Table: TypeAlias = tuple[Entry, ...]
LINEAR = (1, 0)


def linear(torch: str, ours: str, *, bias: bool = True) -> Table:
    """A torch Linear [out, in] and our kernel [in, out]."""
    weight = Entry(f"{torch}.weight", f"{ours}.kernel", LINEAR)
    return (weight, Entry(f"{torch}.bias", f"{ours}.bias")) if bias else (weight,)


def from_torch(state: Mapping[str, Any], table: Table, abstract: Mapping[str, Any], where: str = "state dict") -> dict:
    """Torch entries -> our flat parameters (numpy, C order).

    abstract: our paths with anything that has the expected ``shape``. InputError, one line, names all entries that are
    missing, unknown or of another shape than expected at once.
    """
    params: dict[str, np.ndarray] = {}
    wrong: list[str] = []
    for name, array in state.items():
        found = _translate(name, table, lambda entry: entry.torch, lambda entry: entry.ours)
        if found is None or found[1] not in abstract:
            wrong.append(f"{name} is not known")
            continue
        entry, path = found
        expected = entry.torch_shape(tuple(abstract[path].shape))
        array = np.asarray(array)
        params[path] = array
        if array.shape != expected:
            wrong.append(f"{name} is {list(array.shape)}, expected {list(expected)}")
        else:
            params[path] = np.ascontiguousarray(entry.to_ours(array))
    for path in abstract:
        if path not in params:
            found = _translate(path, table, lambda entry: entry.ours, lambda entry: entry.torch)
            wrong.append(f"{found[1] if found else path} is missing")
    if wrong:
        raise InputError(f"{where}: {len(wrong)} entries do not fit: {'; '.join(wrong)}")
    return params


def to_torch(params: Mapping[str, Any], table: Table, where: str = "parameters") -> dict[str, np.ndarray]:
    """The inverse of `from_torch`. InputError names all paths that the table does not know."""
    state: dict[str, np.ndarray] = {}
    unknown: list[str] = []
    for path, array in params.items():
        found = _translate(path, table, lambda entry: entry.ours, lambda entry: entry.torch)
        if found is None:
            unknown.append(path)
        else:
            state[found[1]] = np.ascontiguousarray(found[0].to_torch(np.asarray(array)))
    if unknown:
        raise InputError(f"{where}: no torch name for {', '.join(unknown)}")
    return state


def _translate(
    name: str, table: Table, source: Callable[[Entry], str], target: Callable[[Entry], str]
) -> tuple[Entry, str] | None:
    """The entry whose pattern is this name, with its name on the other side."""
    for entry in table:
        pattern = re.escape(source(entry)).replace(re.escape("{i}"), r"(?P<i>\d+)")
        if match := re.fullmatch(pattern, name):
            return entry, target(entry).replace("{i}", match.groupdict().get("i") or "")
    return None
