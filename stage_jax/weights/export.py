"""Model folders into checkpoints that Wan's own code, diffusers and ComfyUI read, streamed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.zoo import DITS
from stage_jax.weights.convert import Step
from stage_jax.weights.destination import check_destination
from stage_jax.weights.detect import model_type
from stage_jax.weights.dit_table import DIT_TABLE, dit_shapes
from stage_jax.weights.folder import open_part, part_config, read_entry, read_manifest
from stage_jax.weights.header import DTYPES
from stage_jax.weights.places import EXPERTS, STEM
from stage_jax.weights.shards import Read, Shard, Specs, Tell, in_megabytes, nbytes, write_shards
from stage_jax.weights.stream import check_layers, check_shapes
from stage_jax.weights.table import Naming, join, torch_entries, torch_spec

Format = Literal["original", "diffusers", "comfy"]
SHARD_BYTES = 5_000_000_000  # what Wan's own shards come near to
FOR_TORCH = {"format": "pt"}  # without it the readers of diffusers and transformers refuse a file


@dataclasses.dataclass(frozen=True)
class Exported:
    parts: tuple[str, ...]
    entries: int
    parameters: int


@dataclasses.dataclass(frozen=True, eq=False)
class _Plan:
    """One part on its way: under torch names, in torch's shapes."""

    config: DiTConfig
    specs: Specs
    read: Read


def export(
    source: Path,
    destination: Path,
    form: Format,
    *,
    prefix: str = "",
    step: Step = lambda label, done, total: None,
) -> Exported:
    """Writes the parts `dit` and `dit_low` of a model folder into a new folder; every array keeps its type, bit for bit.

    form: "original": shards of about 5 GB with their index and config.json, two experts in `high_noise_model/` and
    `low_noise_model/`; "diffusers": `transformer/` and `transformer_2/`; "comfy": one file for each part, original names
    behind `prefix`. InputError, before anything is written, for parameters that have no torch name and for a theta,
    text_len or eps that the form has no words for. Heads are in no file for "comfy": who reads those asks for them.
    """
    parts = ["dit", "dit_low"] if "dit_low" in read_manifest(source)["parts"] else ["dit"]
    for part in parts:
        _check_sayable(source / part, form, part_config(source, part, DiTConfig))
    plans = {part: _plan(source, part, "diffusers" if form == "diffusers" else "original", prefix) for part in parts}
    real = check_destination(destination, source, sum(nbytes(plan.specs) for plan in plans.values()))
    names = _names(form, parts, read_entry(source, "dit").get("model"))
    with files.atomic_folder(real) as folder:
        for part, plan in plans.items():
            write_dit(folder, form, names[part], plan.config, plan.specs, plan.read, in_megabytes(f"writing {part}", step))
    shapes = [spec.shape for plan in plans.values() for spec in plan.specs.values()]
    return Exported(tuple(plans), len(shapes), sum(map(prod, shapes)))


def write_dit(
    folder: Path,
    form: Format,
    name: str,
    config: DiTConfig,
    specs: Specs,
    read: Read,
    tell: Tell | None = None,
) -> None:
    """One DiT below `folder`, which exists; `specs` and `read` are by torch names. name: of the subfolder ("" for none), or
    of the file for "comfy"."""
    if form == "comfy":
        write_shards(folder, name, specs, read, metadata=FOR_TORCH, tell=tell)
        return
    place = folder / name
    place.mkdir(exist_ok=True)
    shards = write_shards(place, STEM, specs, read, limit=SHARD_BYTES, metadata=FOR_TORCH, tell=tell)
    if len(shards) > 1:
        _write_json(place / f"{STEM}.safetensors.index.json", _index(shards, nbytes(specs)))
    _write_json(place / "config.json", original_config(config) if form == "original" else diffusers_config(config))


def original_config(config: DiTConfig) -> dict[str, Any]:
    """The fields of Wan's own config.json."""
    return {
        "_class_name": "WanModel",
        "model_type": model_type(config),
        "dim": config.dim,
        "eps": config.eps,
        "ffn_dim": config.ffn_dim,
        "freq_dim": config.freq_dim,
        "in_dim": config.in_channels,
        "num_heads": config.heads,
        "num_layers": config.layers,
        "out_dim": config.out_channels,
        "text_len": config.text_len,
    }


def diffusers_config(config: DiTConfig) -> dict[str, Any]:
    """The fields of diffusers' config.json of a WanTransformer3DModel."""
    return {
        "_class_name": "WanTransformer3DModel",
        "patch_size": list(config.kernels[0]),
        "num_attention_heads": config.heads,
        "attention_head_dim": config.dim // config.heads,
        "in_channels": config.in_channels,
        "out_channels": config.out_channels,
        "text_dim": config.text_dim,
        "freq_dim": config.freq_dim,
        "ffn_dim": config.ffn_dim,
        "num_layers": config.layers,
        "cross_attn_norm": True,
        "qk_norm": "rms_norm_across_heads",
        "eps": config.eps,
        "image_dim": config.image_dim,
        "added_kv_proj_dim": None if config.image_dim is None else config.dim,
        "rope_max_seq_len": 1024,
        "pos_embed_seq_len": config.image_positions,
    }


def _plan(source: Path, part: str, naming: Naming, prefix: str) -> _Plan:
    checkpoint, config = open_part(source, part), part_config(source, part, DiTConfig)
    check_layers(checkpoint, config.layers)
    torch = torch_entries(checkpoint.entries, DIT_TABLE, f"{source / part}", naming)
    check_shapes(checkpoint, dit_shapes(config))
    stored = {path: jax.ShapeDtypeStruct(entry.shape, DTYPES[entry.dtype]) for path, entry in checkpoint.entries.items()}
    specs = {
        f"{prefix}{name}": torch_spec(name, [(entry, stored[path]) for entry, path in pieces], f"{source / part}")
        for name, pieces in torch.items()
    }

    def read(name: str) -> np.ndarray:
        return join([(entry, checkpoint.read(path)) for entry, path in torch[name.removeprefix(prefix)]])

    return _Plan(config, specs, read)


def _check_sayable(where: Path, form: Format, config: DiTConfig) -> None:
    """InputError for what a reader of this form would not learn, and would take to be as in Wan's models."""
    lost = {"original": ("theta",), "diffusers": ("theta", "text_len"), "comfy": ("theta", "text_len", "eps")}[form]
    for name in lost:
        found, usual = getattr(config, name), getattr(DiTConfig, name)
        if found != usual:
            raise InputError(f"{where}: {name}: found {found}, expected {usual}, since the format {form} cannot say another")


def _names(form: Format, parts: Sequence[str], model: Any) -> dict[str, str]:
    """Part -> subfolder, or file for "comfy"; `model` is what model.json calls it, if anything."""
    if form == "comfy":
        stem = model if model in DITS else "wan-dit"
        ends = ["-high-noise", "-low-noise"] if len(parts) > 1 else [""]
        return {part: f"{stem}{end}" for part, end in zip(parts, ends, strict=True)}
    single = form == "original" and len(parts) == 1
    return {part: "" if single else folder for part, folder in zip(parts, EXPERTS[form], strict=False)}


def _index(shards: Sequence[Shard], size: int) -> dict[str, Any]:
    weight_map = {name: shard.name for shard in shards for name in shard.entries}
    return {"metadata": {"total_size": size}, "weight_map": weight_map}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    files.write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
