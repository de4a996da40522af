"""Flags that name LoRAs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stage_jax.cli.arguments import weighted

if TYPE_CHECKING:
    from stage_jax.weights.lora_folder import Asked

Named = Sequence[tuple[Path, float]]
_WHAT = "a LoRA: file of any dialect, or folder; times a weight (1)"


def add_loras(parser: argparse.ArgumentParser, flag: str) -> None:
    """`flag` for the DiT, or both experts where the file has both, and `flag`_low; each as often as wanted."""
    settings = dict(metavar="FILE[:W]", type=weighted, action="append", default=[])
    parser.add_argument(flag, help=f"{_WHAT}; of two experts, onto the one for high noise, or both if it has both", **settings)
    parser.add_argument(f"{flag}_low", help="the same, onto the expert for low noise", **settings)


def asked_loras(loras: Named, low: Named) -> list[Asked]:
    from stage_jax.weights.lora_folder import Asked

    return [Asked(path, weight) for path, weight in loras] + [Asked(path, weight, low=True) for path, weight in low]
