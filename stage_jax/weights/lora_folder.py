"""LoRAs in model folders: the parts `lora` and, for the expert for low noise, `lora_low`. Entries bear our names: A [in, r],
B [r, out], and alpha where it is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.lora import LoRA, check_shapes, linear_shapes
from stage_jax.weights.destination import check_destination
from stage_jax.weights.folder import open_part, part_config, read_manifest, stream_part
from stage_jax.weights.kinds import KINDS
from stage_jax.weights.lora_file import ADAPTER_MODEL, assemble, read_lora_file
from stage_jax.weights.lora_names import ALPHA
from stage_jax.weights.lora_peft import Said
from stage_jax.weights.shards import file_sha256

PARTS = {"dit": "lora", "dit_low": "lora_low"}  # expert -> part


@dataclass(frozen=True)
class LoRAFacts:
    """What model.json says of a LoRA."""

    rslora: bool = False


def read_loras(path: Path) -> dict[str, LoRA]:
    """The LoRAs of a model folder, of a file of any dialect or of a folder that PEFT wrote, by expert. InputError as
    `read_lora_file`, and for a model folder that has none."""
    if not (path / "model.json").is_file():
        return read_lora_file(path)
    there = [expert for expert, part in PARTS.items() if part in read_manifest(path)["parts"]]
    if not there:
        raise InputError(f"{path / 'model.json'}: no part {' or '.join(PARTS.values())}, expected a LoRA")
    loras = {}
    for expert in there:
        checkpoint, facts = open_part(path, PARTS[expert]), part_config(path, PARTS[expert], LoRAFacts)
        names = {name: name for name in checkpoint.entries}
        if strange := [name for name in names if not name.endswith((".lora.a", ".lora.b", ALPHA))]:
            raise InputError(f"{checkpoint.where}: {strange[0]} is not known")
        loras[expert] = assemble(checkpoint, names, Said(rslora=facts.rslora), torch=False)
    return loras


@dataclass(frozen=True)
class Asked:
    """A LoRA that somebody names. low: it is for the expert for low noise, whatever the file says."""

    path: Path
    weight: float = 1.0
    low: bool = False


def read_asked(several: Sequence[Asked], experts: Collection[str], where: Path) -> list[tuple[dict[str, LoRA], float]]:
    """The LoRAs by expert, with their weights. experts: that the model in `where` has; InputError for another."""
    found = []
    for asked in several:
        loras = read_loras(asked.path)
        if asked.low:
            loras = {"dit_low": loras.get("dit_low") or loras["dit"]}
        if missing := [expert for expert in loras if expert not in experts]:
            raise InputError(f"{asked.path}: a LoRA for {KINDS[missing[0]].words} as part {missing[0]}, {where} has none")
        found.append((loras, asked.weight))
    return found


def write_lora_part(folder: Path, expert: str, lora: LoRA, facts: Mapping[str, Any]) -> None:
    """The part of a model folder; arrays keep their types. facts: what else model.json is to say. The caller makes it all or
    nothing (`files.atomic_folder`)."""
    arrays = {name: np.asarray(factor) for name, factor in lora.factors.items()}
    arrays |= {path + ALPHA: np.float32(alpha).reshape(()) for path, alpha in lora.alphas.items() if alpha is not None}
    specs = {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in arrays.items()}
    stream_part(folder, PARTS[expert], LoRAFacts(lora.rslora), specs, arrays.__getitem__, facts)


def convert_lora(source: Path, destination: Path, *, low: Path | None = None, licence: str = "unknown") -> dict[str, LoRA]:
    """Puts the LoRAs of a file into a model folder, and returns them. destination: a new or empty folder, or a model folder
    that has no LoRA; its DiT's shapes have to fit. low: the one for the expert for low noise, where it is a file of its own.
    InputError, before anything is written."""
    loras, sources = read_lora_file(source), dict.fromkeys(PARTS, source)
    if low is not None:
        second = read_lora_file(low)
        if len(loras) > 1 or len(second) > 1:
            raise InputError(f"{low}: found a third LoRA, expected one for each expert")
        loras, sources["dit_low"] = {"dit": next(iter(loras.values())), "dit_low": next(iter(second.values()))}, low
    size = sum(factor.nbytes for lora in loras.values() for factor in lora.factors.values())
    facts = {expert: {"licence": licence, "sources": _hashes(sources[expert])} for expert in loras}
    if (destination / "model.json").is_file():
        for expert, lora in loras.items():
            _check_fits(destination, expert, lora)
        with files.staged_folder(destination) as folder:
            files.write_bytes(folder / "model.json", (destination / "model.json").read_bytes())
            for expert, lora in loras.items():
                write_lora_part(folder, expert, lora, facts[expert])
    else:
        with files.atomic_folder(check_destination(destination, source, size)) as folder:
            for expert, lora in loras.items():
                write_lora_part(folder, expert, lora, facts[expert])
    return loras


def _check_fits(folder: Path, expert: str, lora: LoRA) -> None:
    parts = read_manifest(folder)["parts"]
    if PARTS[expert] in parts:
        raise InputError(f"{folder}: has a part {PARTS[expert]} already")
    if expert not in parts:
        raise InputError(f"{folder}: no part {expert}, which a LoRA of it could be put beside")
    check_shapes(lora, linear_shapes(KINDS[expert].shapes(part_config(folder, expert, DiTConfig))))


def _hashes(source: Path) -> list[dict[str, str]]:
    found = source / ADAPTER_MODEL if source.is_dir() else source
    return [{"file": found.name, "sha256": file_sha256(found)}]
