"""Flags about single shots that `stage film` and `stage board` share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from stage_jax.cli.arguments import MOST_CANDIDATES, take, whole

if TYPE_CHECKING:
    from stage_jax.film.choices import Choices


def add_choices(parser: argparse.ArgumentParser) -> None:
    shot = {"metavar": "SHOT", "action": "append", "default": []}
    parser.add_argument("--lock", help="keep this shot's frames as they are in DIR, such as SC01_SH020 (repeatable)", **shot)
    parser.add_argument("--only", help="draw this shot anew, and others only if their memory differs then (repeatable)", **shot)
    parser.add_argument(
        "--candidates", metavar="N", type=whole(1, MOST_CANDIDATES), default=1, help="pairs to draw of each shot (default: 1)"
    )
    parser.add_argument(
        "--take", metavar="SHOT=K", type=take, action="append", default=[],
        help="the shot's pair is its candidate K (default: the first; repeatable)",
    )  # fmt: skip


def choices(args: argparse.Namespace, pairs: Path | None = None) -> Choices:
    """pairs: a folder of some given frames, for boards that are drawn to them."""
    from stage_jax.film.choices import Choices

    return Choices(tuple(args.lock), tuple(args.only), args.candidates, dict(args.take), pairs)
