"""What the configurations of parts are read from: shapes of some entries, and a config.json that may not contradict them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.table import Naming, Shape, Table, shown, torch_name

MOST_DIGITS = 3  # of a layer's number, our choice; what claims more layers is not believed
Config = TypeVar("Config")


def shapes_of(
    checkpoint: Checkpoint, table: Table, naming: Naming, axes: Mapping[str, int], needed: Sequence[str] | None = None
) -> dict[str, Shape]:
    """The torch shapes of the entries of some of our paths. axes: how many each has to have. needed: those that have to be
    there, None for all. InputError names what is missing or of another form at once."""
    names = {path: torch_name(path, table, naming) for path in axes}
    found = {path: checkpoint.entries[name].shape for path, name in names.items() if name in checkpoint.entries}
    wrong = [f"{names[path]} is missing" for path in (axes if needed is None else needed) if path not in found]
    for path, shape in found.items():
        if len(shape) != axes[path] or 0 in shape:
            wrong.append(f"{names[path]} is {list(shape)}, expected {axes[path]} axes")
    if wrong:
        raise InputError(f"{checkpoint.where}: {len(wrong)} entries do not fit: {'; '.join(wrong)}")
    return found


def count_layers(names: Iterable[str], before: str) -> int:
    """One more than the largest number right behind `before` in the names; 0 if there is none."""
    numbers = {name.removeprefix(before).split(".")[0] for name in names if name.startswith(before)}
    return 1 + max((int(number) for number in numbers if number.isdecimal() and len(number) <= MOST_DIGITS), default=-1)


def whole(value: Any, name: str) -> int:
    """ValueError for what is no whole number from 1."""
    if type(value) is not int or not 0 < value <= 1 << 20:
        raise ValueError(f"{name}: found {shown(value)}, expected a whole number from 1")
    return value


def small(value: Any) -> float:
    """An eps; ValueError for what is none."""
    if not isinstance(value, float) or not 0 < value < 1:
        raise ValueError(f"eps: found {shown(value)}, expected a number between 0 and 1")
    return value


def numbers(value: Any, name: str, count: int) -> tuple[float, ...]:
    """ValueError for what is no list of so many finite numbers."""
    fits = isinstance(value, list) and len(value) == count
    if not fits or not all(type(item) in (int, float) and math.isfinite(item) for item in value):
        raise ValueError(f"{name}: found {shown(value)}, expected {count} numbers")
    return tuple(map(float, value))


def agree(checkpoint: Checkpoint, found: Mapping[str, Any]) -> None:
    """InputError if config.json says of one of these something else."""
    said = {name: checkpoint.config[name] for name in found if checkpoint.config.get(name) is not None}
    if wrong := [f"{name} {shown(value)}" for name, value in said.items() if value != found[name]]:
        sizes = ", ".join(f"{name} {found[name]}" for name in said)
        raise InputError(f"{checkpoint.where}: config.json says {', '.join(wrong)}, the weights say {sizes}")


def refuse_other(checkpoint: Checkpoint, forms: Mapping[str, tuple[Any, ...]]) -> None:
    """InputError if config.json names a form of model that is not the one there is here, the last of each."""
    for name, known in forms.items():
        if (value := checkpoint.config.get(name)) is not None and value not in known:
            raise InputError(f"{checkpoint.where}: config.json says {name} {shown(value)}, expected {known[-1]!r}")


def in_zoo(config: Config, zoo: Mapping[str, Config], run: Sequence[str]) -> tuple[str | None, Config]:
    """The name and the configuration of the zoo that is the same but for `run`, the fields that say how a model is run, which
    weights do not; else None and what was given."""
    for name, known in zoo.items():
        if known == replace(config, **{field: getattr(known, field) for field in run}):
            return name, known
    return None, config
