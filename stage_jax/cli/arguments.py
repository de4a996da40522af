"""Kinds of values that flags take, and what to do about flags that nobody knows."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

from stage_jax.errors import InputError


def refuse(unknown: Sequence[str]) -> None:
    """Raises InputError if any argument was left over."""
    if unknown:
        raise InputError(f"unknown arguments: {' '.join(unknown)} (stage VERB --help lists those there are)")


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """A whole number from `least` to `most`, for argparse."""
    expected = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
        return value

    return read


def finite(text: str) -> float:
    """A finite number that is not negative, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0")
    return value
