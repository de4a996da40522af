"""Configurations as model.json says them: kinds of values and their bounds."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from stage_jax.errors import InputError
from stage_jax.weights.table import listed, shown

Config = TypeVar("Config")

# Bounds, our choice: far beyond every model, and low enough that all shapes made of them have sizes of 63 bits.
MOST = 1 << 20
MOST_LAYERS = 999
MOST_IN_LIST = 64  # sides of kernels, multipliers of channels; entries of a list
MOST_REAL = 1e30
POSITIVE = ("eps", "theta", "shift", "small_shift")  # the real numbers that are
ACTIVATIONS = ("float32", "bfloat16", "float16")


def read_config(said: Mapping[str, Any], where: str, config_type: type[Config]) -> Config:
    """The frozen dataclass that JSON says, with those in it. InputError for fields and values that it cannot have."""
    if unknown := said.keys() - {field.name for field in dataclasses.fields(config_type)}:
        raise InputError(f"{where}: unknown {listed(sorted(unknown), ', ')}")
    kinds, values = get_type_hints(config_type), {}
    for name, value in said.items():
        inner = next((kind for kind in get_args(kinds[name]) if dataclasses.is_dataclass(kind)), None)
        if inner is not None and isinstance(value, dict):
            values[name] = read_config(value, f"{where}.{name}", inner)
        elif expected := misfit(value, name, kinds[name]):
            raise InputError(f"{where}.{name}: found {shown(value)}, expected {expected}")
        else:
            values[name] = as_tuples(value)
    try:
        return config_type(**values)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None


def as_tuples(value: Any) -> Any:
    """JSON's lists as the tuples that frozen configs hold."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value


def misfit(value: Any, name: str, kind: Any) -> str | None:
    """What is expected of the field `name`, whose type is `kind`, if a value from JSON is not that; None if it is.

    Whole numbers count from 1. Lists stand for tuples and hold something.
    """
    most = MOST_LAYERS if name == "layers" else MOST
    choices = [part for part in get_args(kind) if part is not type(None)]
    if get_origin(kind) in (types.UnionType, Union):
        return None if value is None else misfit(value, name, choices[0])
    if get_origin(kind) is Literal:
        return None if value in choices else f"one of {', '.join(map(repr, choices))}"
    if get_origin(kind) is tuple:
        return _list_misfit(value, name, get_args(kind))
    if kind is bool:
        return None if isinstance(value, bool) else "true or false"
    if kind is int:
        return None if _whole(value, most) else f"a whole number from 1 to {most}"
    if kind is float:
        least = 0 if name in POSITIVE else -MOST_REAL
        fits = isinstance(value, int | float) and not isinstance(value, bool) and least < value <= MOST_REAL
        return None if fits else "a number above 0" if name in POSITIVE else "a number"
    if name == "dtype":
        return None if value in ACTIVATIONS else f"one of {', '.join(ACTIVATIONS)}"
    return None if isinstance(value, kind) else f"a {kind.__name__}"


def _whole(value: Any, most: int) -> bool:
    return type(value) is int and 1 <= value <= most


def _list_misfit(value: Any, name: str, kinds: tuple[Any, ...]) -> str | None:
    """Lists are checked to the depth that the type has, so that deep ones end no recursion."""
    several = kinds[-1] is Ellipsis
    if not isinstance(value, list) or not 1 <= len(value) <= MOST_IN_LIST or not (several or len(value) == len(kinds)):
        return f"a list of 1 to {MOST_IN_LIST}" if several else f"a list of {len(kinds)}"
    for item, kind in zip(value, [kinds[0]] * len(value) if several else kinds, strict=True):
        if kind is int and not _whole(item, MOST_IN_LIST):
            return f"whole numbers from 1 to {MOST_IN_LIST} in it"
        if expected := misfit(item, name, kind):
            return f"{expected} in it"
    return None
