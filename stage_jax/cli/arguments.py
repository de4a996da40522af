"""Kinds of values that flags take, and what to do about flags that nobody knows."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence

from stage_jax.errors import InputError

MOST = 10_000.0  # of guidance and the like; our choice, far beyond what makes sense and within every float


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
    """A number from 0 to `MOST`, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MOST:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to {MOST:,.0f}")
    return value
