"""LoRA files of every dialect (`lora_names`): safetensors, or torch's own, told apart by their entries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from stage_jax.errors import InputError
from stage_jax.models.lora import A, B, LoRA
from stage_jax.weights.checkpoint import Checkpoint, open_files
from stage_jax.weights.header import DTYPES
from stage_jax.weights.lora_names import ALPHA, PEFT, Named, is_lora, parse
from stage_jax.weights.lora_peft import ADAPTER_CONFIG, METADATA, Said, read_adapter_config, read_metadata
from stage_jax.weights.pickled import START
from stage_jax.weights.places import file_inside
from stage_jax.weights.table import printable

EXPECTED = "a LoRA of Wan's linears (lora_A and lora_B, or lora_down and lora_up)"
ADAPTER_MODEL = "adapter_model.safetensors"


def holds_lora(path: Path) -> bool:
    """Whether a file, or a folder that PEFT wrote, is to be read as a LoRA."""
    if path.is_dir():
        return (path / ADAPTER_MODEL).is_file()
    return path.is_file() and any(map(is_lora, open_files(path, [path], {}).entries))


def read_lora_file(path: Path) -> dict[str, LoRA]:
    """The LoRAs of a file, or of a folder that PEFT wrote, by the expert they are for: `dit`, `dit_low`. Arrays keep their
    types.

    Alpha comes from the file's entries, from diffusers' metadata in it or from PEFT's adapter_config.json; a file that says
    none has scale 1. InputError, one line, for what is no LoRA, is cut short, lacks a half, or has entries of a kind that is
    not read (DoRA, LoHa, LoKr, biases, whole differences): half of a LoRA is another LoRA.
    """
    if path.is_dir():
        file_inside(path / ADAPTER_MODEL, path)
        path = path / ADAPTER_MODEL
    if not path.is_file():
        raise InputError(f"{path}: not found, expected {EXPECTED}")
    checkpoint = open_files(path, [path], {})
    if not any(map(is_lora, checkpoint.entries)):
        first = next(iter(checkpoint.entries), "no entries")
        raise InputError(f"{path}: found {printable(first)}, expected {EXPECTED}")
    named: dict[Named, str] = {}
    for name in checkpoint.entries:
        found = parse(name)
        if found is None:
            raise InputError(f"{path}: {printable(name)} is not read, expected {EXPECTED}")
        if found in named:
            raise InputError(f"{path}: {printable(name)} is there beside {printable(named[found])}")
        named[found] = name
    said = _said(path, checkpoint)
    experts = sorted({found.expert for found in named})
    return {
        expert: assemble(
            checkpoint,
            {found.path + found.role: name for found, name in named.items() if found.expert == expert},
            said.get(expert, Said()),
        )
        for expert in experts
    }


def assemble(checkpoint: Checkpoint, names: Mapping[str, str], said: Said, *, torch: bool = True) -> LoRA:
    """A LoRA of the entries of a checkpoint. names: by our path and role. torch: A and B lie as torch has them, [r, in] and
    [out, r]. InputError for factors that do not fit each other."""
    where = checkpoint.where
    factors: dict[str, np.ndarray] = {}
    alphas: dict[str, float | None] = {}
    paths = dict.fromkeys(name.removesuffix(role) for name in names for role in (A, B, ALPHA) if name.endswith(role))
    for path in paths:
        if missing := [role for role in (A, B) if path + role not in names]:
            there = next(names[path + role] for role in (B, A, ALPHA) if path + role in names)
            raise InputError(f"{where}: {printable(there)} is there without its other half ({missing[0][-1].upper()})")
        a, b = (_factor(checkpoint, names[path + role]) for role in (A, B))
        a, b = (a.T, b.T) if torch else (a, b)
        if a.shape[1] != b.shape[0] or not a.shape[1]:
            shapes = f"{list(checkpoint.shapes[names[path + A]])} and {list(checkpoint.shapes[names[path + B]])}"
            raise InputError(f"{where}: {printable(names[path + A])} and its half are {shapes}, expected one rank above 0")
        factors |= {path + A: a, path + B: b}
        entry = names.get(path + ALPHA)
        alphas[path] = said.alpha_of(path) if entry is None else _alpha(checkpoint, entry)
    return LoRA(factors, alphas, said.rslora, str(where))


def _factor(checkpoint: Checkpoint, name: str) -> np.ndarray:
    shape = checkpoint.shapes[name]
    if len(shape) != 2:
        raise InputError(f"{checkpoint.where}: {printable(name)} is {list(shape)}, expected two axes")
    array = checkpoint.read(name)
    if not np.isfinite(array.astype(np.float32)).all():
        raise InputError(f"{checkpoint.where}: {printable(name)} holds numbers that are not finite")
    return array


def _alpha(checkpoint: Checkpoint, name: str) -> float:
    entry = checkpoint.entries[name]
    if math.prod(entry.shape) != 1 or entry.dtype not in DTYPES:
        raise InputError(f"{checkpoint.where}: {printable(name)} is {entry.dtype} {list(entry.shape)}, expected one number")
    value = float(checkpoint.read(name).reshape(()))
    if not math.isfinite(value):
        raise InputError(f"{checkpoint.where}: {printable(name)} is {value}, expected a finite number")
    return value


def _said(path: Path, checkpoint: Checkpoint) -> dict[str, Said]:
    """What is said of scales beside the entries, by expert."""
    if any(name.startswith(PEFT) for name in checkpoint.entries):
        return {"dit": read_adapter_config(path.parent / ADAPTER_CONFIG)}
    with open(path, "rb") as file:
        pickled = file.read(len(START)) == START
    if pickled:
        return {}
    try:
        with safe_open(path, framework="np") as opened:
            metadata: Mapping[str, Any] = opened.metadata() or {}
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None
    return read_metadata(f"{path}: {METADATA}", metadata[METADATA]) if METADATA in metadata else {}
