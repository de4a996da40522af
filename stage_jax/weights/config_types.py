"""Whether what a file says of a model is what its configuration can hold: kinds of values and their bounds."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

# Bounds, our choice: far beyond every model, and low enough that all shapes made of them have sizes of 63 bits.
MOST = 1 << 20
MOST_LAYERS = 999
MOST_IN_LIST = 64  # sides of kernels, multipliers of channels; entries of a list
MOST_REAL = 1e30
POSITIVE = ("eps", "theta")  # the real numbers that are
ACTIVATIONS = ("float32", "bfloat16", "float16")


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
