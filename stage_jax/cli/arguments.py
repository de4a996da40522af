"""Kinds of values that flags take, and what to do about flags that nobody knows."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

from stage_jax.errors import InputError

MOST = 10_000.0  # of guidance and the like; our choice, far beyond what makes sense and within every float

MOST_CANDIDATES = 64  # pairs of one shot; our choice


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


def size(text: str) -> tuple[int, int]:
    """Height and width of pictures, for argparse."""
    height, _, width = text.partition("x")
    if not (height.isdecimal() and width.isdecimal() and 16 <= int(height) <= 4096 and 16 <= int(width) <= 4096):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected height and width from 16 to 4096, such as 480x832")
    return int(height), int(width)


def share(text: str) -> float:
    """A part of a whole, from 0 to below 1, for argparse."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a number from 0 to below 1")
    return value


def weighted(text: str) -> tuple[Path, float]:
    """FILE or FILE:WEIGHT, a finite number that may be negative, for argparse. A name whose end is no number is a file's."""
    file, colon, end = text.rpartition(":")
    try:
        weight = float(end) if colon else math.nan
    except ValueError:
        weight = math.nan
    if math.isnan(weight):
        return Path(text), 1.0
    if not abs(weight) <= MOST:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected FILE:WEIGHT with a weight within {MOST:,.0f}")
    return Path(file), weight


def take(text: str) -> tuple[str, int]:
    """SHOT=NUMBER of a candidate, for argparse."""
    name, _, number = text.rpartition("=")
    if not (name and number.isdecimal() and 1 <= int(number) <= MOST_CANDIDATES):
        expected = f"a shot and a number from 1 to {MOST_CANDIDATES}, such as SC01_SH020=2"
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return name, int(number)


def part(text: str) -> tuple[int, int]:
    """K/N, which of n processes this is, for argparse."""
    k, _, n = text.partition("/")
    if not (k.isdecimal() and n.isdecimal() and int(k) < int(n)):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected K/N with K from 0 to below N, such as 0/4")
    return int(k), int(n)
