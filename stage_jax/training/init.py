"""Weights that a training starts from: a part of a model folder, of Wan's own folder or of diffusers'."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from stage_jax.errors import InputError
from stage_jax.models.patchify import BASE, widened
from stage_jax.training.state import Params
from stage_jax.weights.part import Part
from stage_jax.weights.pipeline import open_pipeline, our_part

COMPUTED = ("dtype", "scan_layers", "remat", "gate_init", "conv", "temporal_init")
"""What of a configuration says how a model is computed, or began, and nothing about its parameters."""


def open_init(folder: Path, part: str) -> Part:
    """A part to start from. Of a model folder no other part is looked at."""
    return our_part(folder, part) if (folder / "model.json").is_file() else open_pipeline(folder).part(part)


def read_init(folder: Path, part: str, sizes: Any, abstract: Mapping[str, Any]) -> Params:
    """The parameters of a part, in the form and type of `abstract`. A DiT of fewer input channels than `sizes` has, a
    text-to-video model, is widened (`patchify.widened`). InputError, with what differs, for other `sizes`."""
    stored = open_init(folder, part)
    channels = getattr(stored.config, "in_channels", 0)
    if not 0 < channels < getattr(sizes, "in_channels", 0):
        check_sizes(folder, stored.config, sizes)
        return stored.params(abstract)
    check_sizes(folder, stored.config, dataclasses.replace(sizes, in_channels=channels))
    wide = abstract[BASE]
    narrow = jax.ShapeDtypeStruct((channels, *wide.shape[1:]), wide.dtype)
    return widened(stored.params({**abstract, BASE: narrow}), sizes.in_channels)


def check_sizes(folder: Path, found: Any, expected: Any, *free: str) -> None:
    """InputError unless two configurations are of one size; `free` fields may differ."""
    names = [field.name for field in dataclasses.fields(expected) if field.name not in (*COMPUTED, *free)]
    differ = [name for name in names if getattr(found, name) != getattr(expected, name)]
    if differ:
        told = ", ".join(f"{name} is {getattr(found, name)}, config.model has {getattr(expected, name)}" for name in differ)
        raise InputError(f"{folder}: weights of another size: {told}")
