"""Torch checkpoints of Wan's DiTs into a model folder, streamed: memory holds about one array at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.zoo import DITS
from stage_jax.weights.checkpoint import Checkpoint, open_checkpoint
from stage_jax.weights.destination import check_destination
from stage_jax.weights.detect import TWO_EXPERTS, family_of, naming_of
from stage_jax.weights.dit_table import DIT_TABLE, dit_shapes
from stage_jax.weights.folder import stream_part
from stage_jax.weights.header import DTYPES
from stage_jax.weights.places import experts
from stage_jax.weights.shards import Specs, Tell, file_sha256, in_megabytes, nbytes
from stage_jax.weights.strangers import refuse_strangers
from stage_jax.weights.table import Entry, match

Step = Callable[[str, int, int], None]  # what is being done, how far it is, of how much


@dataclass(frozen=True)
class Converted:
    """model: the name in the zoo, if it has one. entries, parameters: of all parts together."""

    model: str | None
    config: DiTConfig
    parts: tuple[str, ...]
    entries: int
    parameters: int

    @property
    def whole(self) -> bool:
        """False for one expert of a model that has two."""
        return len(self.parts) > 1 or self.model is None or not self.model.startswith(TWO_EXPERTS)

    @property
    def maybe_expert_of(self) -> str | None:
        """The model of two experts that one part with these shapes could belong to, where `model` is another."""
        alike = (name for name, known in DITS.items() if name.startswith(TWO_EXPERTS) and known == self.config)
        return next(alike, None) if len(self.parts) == 1 and self.model is not None and self.whole else None


@dataclass(frozen=True, eq=False)
class _Plan:
    """One expert on its way. specs: what is to be written. torch: per path the entry of the table and the torch name."""

    checkpoint: Checkpoint
    model: str | None
    config: DiTConfig
    specs: Specs
    torch: Mapping[str, tuple[Entry, str]]

    def read(self, path: str) -> np.ndarray:
        entry, name = self.torch[path]
        return cast(entry.to_ours(self.checkpoint.read(name)), self.specs[path].dtype, f"{self.checkpoint.where}: {name}")


def convert(
    source: Path,
    destination: Path,
    *,
    low: Path | None = None,
    dtype: str | None = None,
    heads: int | None = None,
    licence: str = "unknown",
    sampling: Callable[[str], Mapping[str, Any] | None] = lambda model: None,
    step: Step = lambda label, done, total: None,
) -> Converted:
    """Writes `destination`, a new model folder with the parts `dit` and, for a model of two experts, `dit_low`.

    source: Wan's own folder, diffusers' (a pipeline or one transformer), or one file. low: the low-noise expert, where it
    lies elsewhere than the source. dtype: of all arrays; None keeps each as it is, bit for bit. heads: if neither a
    config.json nor the size tells. licence: of the weights. sampling: how a model of the zoo likes to be sampled. InputError,
    before anything is written, for what is not a whole DiT.
    """
    plans = _plans(source, low, dtype, heads)
    first = plans["dit"]
    size = sum(nbytes(plan.specs) for plan in plans.values())
    real = check_destination(destination, source, size)
    if low is not None:
        check_destination(destination, low, size)
    how = sampling(first.model) if first.model else None
    facts = {"licence": licence} | ({"model": first.model} if first.model else {}) | ({"sampling": dict(how)} if how else {})
    with files.atomic_folder(real) as folder:
        for part, plan in plans.items():
            sources = _hashes(plan.checkpoint, source, in_megabytes(f"hashing {part}", step))
            told = facts | {"sources": sources}
            stream_part(folder, part, plan.config, plan.specs, plan.read, told, in_megabytes(f"writing {part}", step))
    shapes = [spec.shape for plan in plans.values() for spec in plan.specs.values()]
    return Converted(first.model, first.config, tuple(plans), len(shapes), sum(map(prod, shapes)))


def cast(array: np.ndarray, dtype: Any, where: str) -> np.ndarray:
    """The array in another type, itself if it has that already. InputError for numbers that float16 does not reach."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        changed = array.astype(dtype)
    if changed.dtype == np.float16 and np.isfinite(array).sum() != np.isfinite(changed).sum():
        raise InputError(f"{where} holds numbers beyond those of float16 (65504)")
    return changed


def _plans(source: Path, low: Path | None, dtype: str | None, heads: int | None) -> dict[str, _Plan]:
    places = experts(source)
    if low is not None:
        if "dit_low" in places:
            raise InputError(f"{source}: has a low-noise expert, {low} would be a second one")
        if os.path.realpath(low) in map(os.path.realpath, (source, places["dit"])):
            raise InputError(f"{low}: is the expert for high noise already, expected another one for low noise")
        places["dit_low"] = low
    plans = {part: _plan(open_checkpoint(place), dtype, heads, len(places)) for part, place in places.items()}
    configs = [plan.config for plan in plans.values()]
    if any(config != configs[0] for config in configs):
        raise InputError(f"{places['dit_low']}: its sizes are not those of the other expert, {places['dit']}")
    return plans


def _plan(checkpoint: Checkpoint, dtype: str | None, heads: int | None, experts: int) -> _Plan:
    refuse_strangers(checkpoint)
    naming = naming_of(checkpoint)
    model, config = family_of(checkpoint, naming, heads=heads, experts=experts)
    shapes = dit_shapes(config)
    torch = match(checkpoint.shapes, DIT_TABLE, shapes, str(checkpoint.where), naming)
    stored = {path: DTYPES[checkpoint.entries[name].dtype] for path, (_, name) in torch.items()}
    specs = {path: jax.ShapeDtypeStruct(shapes[path].shape, dtype or kept) for path, kept in stored.items()}
    return _Plan(checkpoint, model, config, specs, torch)


def _hashes(checkpoint: Checkpoint, source: Path, tell: Tell) -> list[dict[str, str]]:
    """The source files by their names below the source, with their hashes."""
    total = sum(file.stat().st_size for file in checkpoint.files)
    done = 0

    def add(count: int) -> None:
        nonlocal done
        done += count
        tell(done, total)

    def name(file: Path) -> str:
        return file.relative_to(source).as_posix() if source in file.parents else file.name

    return [{"file": name(file), "sha256": file_sha256(file, add)} for file in checkpoint.files]
