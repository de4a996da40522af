"""Torch checkpoints of whole pipelines, or of their parts, into a model folder, streamed: memory holds about one array at a
time."""

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
from stage_jax.models.zoo import DITS
from stage_jax.weights.checkpoint import Checkpoint, open_checkpoint
from stage_jax.weights.destination import check_destination
from stage_jax.weights.detect import TWO_EXPERTS
from stage_jax.weights.folder import stream_part
from stage_jax.weights.kinds import KINDS, check_part
from stage_jax.weights.layout import SPIECE, Layout, copy_tokenizer, find_parts
from stage_jax.weights.part import Part, torch_parts
from stage_jax.weights.shards import Specs, Tell, file_sha256, in_megabytes, nbytes
from stage_jax.weights.umt5_table import SPIECE_ENTRY

MOST_PIECES = 1 << 26  # bytes, our choice: umT5's spiece.model has 4.5 MB
Step = Callable[[str, int, int], None]  # what is being done, how far it is, of how much


@dataclass(frozen=True)
class Converted:
    """parts: with the tokenizer, if there is one. model: the name in the zoo of the first part, if it has one; config: its
    configuration. entries, parameters: of all parts together."""

    model: str | None
    config: Any
    parts: tuple[str, ...]
    entries: int
    parameters: int

    @property
    def whole(self) -> bool:
        """False for one expert of a model that has two."""
        two = self.parts[0] == "dit" and self.model is not None and self.model.startswith(TWO_EXPERTS)
        return "dit_low" in self.parts or not two

    @property
    def maybe_expert_of(self) -> str | None:
        """The model of two experts that one part with these shapes could belong to, where `model` is another."""
        alike = (name for name, known in DITS.items() if name.startswith(TWO_EXPERTS) and known == self.config)
        alone = self.parts[0] == "dit" and "dit_low" not in self.parts
        return next(alike, None) if alone and self.model is not None and self.whole else None


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
    """Writes `destination`, a new model folder with every part that the source has: `dit`, `dit_low` (the expert for low
    noise), `vae`, `umt5`, `clip`, `tokenizer`.

    source: Wan's own folder, diffusers' (a pipeline or one part), or one file. low: the low-noise expert, where it lies
    elsewhere than the source. dtype: of all arrays; None keeps each as it is, bit for bit. heads: of the DiT, if neither a
    config.json nor the size tells. licence: of the weights. sampling: how a DiT of the zoo likes to be sampled, where
    the source does not say otherwise. InputError,
    before anything is written, for parts that are not whole.
    """
    layout = _with_low(find_parts(source), source, low)
    parts = torch_parts(layout, heads)
    specs = {name: _specs(part, dtype) for name, part in parts.items()}
    size = sum(map(nbytes, specs.values()))
    pieces = _pieces(layout)
    real = check_destination(destination, source, size)
    if low is not None:
        check_destination(destination, low, size)
    with files.atomic_folder(real) as folder:
        for name, part in parts.items():
            released = sampling(part.model) if part.model and KINDS[name] is KINDS["dit"] else None
            how = {**(released or {}), **(part.sampling or {})}
            facts = {"licence": licence, "sources": _hashes(part.checkpoint, source, in_megabytes(f"hashing {name}", step))}
            facts |= ({"model": part.model} if part.model else {}) | ({"sampling": how} if how else {})

            def read(path: str, part: Part = part, specs: Specs = specs[name]) -> np.ndarray:
                return cast(part.read(path), specs[path].dtype, f"{part.checkpoint.where}: {part.name(path)}")

            stream_part(folder, name, part.config, specs[name], read, facts, in_megabytes(f"writing {name}", step))
        if layout.tokenizer is not None:
            copy_tokenizer(layout.tokenizer, folder / "tokenizer")
        elif pieces is not None:
            (folder / "tokenizer").mkdir()
            files.write_bytes(folder / "tokenizer" / SPIECE, pieces)
    first = next(iter(parts.values()))
    shapes = [spec.shape for of_part in specs.values() for spec in of_part.values()]
    names = (*parts, *(["tokenizer"] if layout.tokenizer or pieces else []))
    return Converted(first.model, first.config, names, len(shapes), sum(map(prod, shapes)))


def cast(array: np.ndarray, dtype: Any, where: str) -> np.ndarray:
    """The array in another type, itself if it has that already. InputError for numbers that float16 does not reach."""
    if array.dtype == dtype:
        return array
    with np.errstate(over="ignore"):
        changed = array.astype(dtype)
    if changed.dtype == np.float16 and np.isfinite(array).sum() != np.isfinite(changed).sum():
        raise InputError(f"{where} holds numbers beyond those of float16 (65504)")
    return changed


def _with_low(layout: Layout, source: Path, low: Path | None) -> Layout:
    """The layout with the expert for low noise that lies elsewhere."""
    if low is None:
        return layout
    parts = dict(layout.parts)
    if "dit" not in parts:
        raise InputError(f"{source}: no {KINDS['dit'].words} in it, {low} would be a low-noise expert without another")
    if "dit_low" in parts:
        raise InputError(f"{source}: has a low-noise expert, {low} would be a second one")
    if os.path.realpath(low) in map(os.path.realpath, (source, parts["dit"].where)):
        raise InputError(f"{low}: is the expert for high noise already, expected another one for low noise")
    checkpoint = open_checkpoint(low)
    check_part(checkpoint, "dit_low")
    first = {"dit": parts.pop("dit"), "dit_low": checkpoint}
    return Layout(first | parts, layout.tokenizer, layout.sampling)


def _pieces(layout: Layout) -> bytes | None:
    """The tokenizer's file that ComfyUI keeps among umT5's weights, where no folder has the tokenizer."""
    umt5 = layout.parts.get("umt5")
    if layout.tokenizer is not None or umt5 is None or SPIECE_ENTRY not in umt5.entries:
        return None
    return umt5.read_bytes(SPIECE_ENTRY, MOST_PIECES)


def _specs(part: Part, dtype: str | None) -> Specs:
    return {path: jax.ShapeDtypeStruct(spec.shape, dtype or spec.dtype) for path, spec in part.specs.items()}


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
