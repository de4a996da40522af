"""Model folders into checkpoints that Wan's own code, diffusers and ComfyUI read, streamed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.weights.convert import Step
from stage_jax.weights.destination import check_destination
from stage_jax.weights.folder import part_config, read_entry, read_manifest
from stage_jax.weights.formats import Format, Spot, sayable, spots
from stage_jax.weights.kinds import KINDS
from stage_jax.weights.layout import SPIECE, TOKENIZERS, copy_tokenizer
from stage_jax.weights.lora_folder import PARTS, Asked, read_asked
from stage_jax.weights.lora_merge import merging
from stage_jax.weights.model_index import pipeline_files
from stage_jax.weights.part import Part
from stage_jax.weights.pipeline import our_part
from stage_jax.weights.shards import Read, Shard, Specs, Tell, in_megabytes, nbytes, write_shards
from stage_jax.weights.table import join, listed, torch_entries, torch_spec
from stage_jax.weights.umt5_table import SPIECE_ENTRY

SHARD_BYTES = 5_000_000_000  # what Wan's own shards come near to
FOR_TORCH = {"format": "pt"}  # without it the readers of diffusers and transformers refuse a file


@dataclass(frozen=True)
class Exported:
    """left_out: what the format has no names for, and LoRAs, which have files of their own (`lora_write`)."""

    parts: tuple[str, ...]
    entries: int
    parameters: int
    left_out: tuple[str, ...]


def export(
    source: Path,
    destination: Path,
    form: Format,
    *,
    prefix: str = "",
    merge: Sequence[Asked] = (),
    sampling: Callable[[DiTConfig, int], Mapping[str, Any]] = lambda config, experts: {},
    step: Step = lambda label, done, total: None,
) -> Exported:
    """Writes all parts of a model folder into a new folder; every array keeps its type, bit for bit but for `merge`.

    form: "original": Wan's own folder, with two experts in `high_noise_model/` and `low_noise_model/`, the DiT in shards of
    about 5 GB, and the content of its `.pth` files in `.safetensors` of the same names; "diffusers": a pipeline; "comfy": one
    file for each part, the DiT's names behind `prefix`, its heads said nowhere (`convert` asks for
    them unless a model of Wan's has that width). merge: LoRAs that are added to the kernels, which keep
    their types. sampling: how a DiT of this form, or two, is sampled where model.json does
    not say it. InputError, before anything is written, for parameters that have no
    torch name and for what the form has no words for (`formats.sayable`).
    """
    there = read_manifest(source)["parts"]
    names = [part for part in KINDS if part in there]
    if not names:
        raise InputError(f"{source / 'model.json'}: no part {', '.join(KINDS)}, found {listed(sorted(there), ', ') or 'none'}")
    configs = {part: sayable(source / part, form, part, part_config(source, part, KINDS[part].config)) for part in names}
    parts = {part: our_part(source, part) for part in names}
    places = spots(form, configs, read_entry(source, names[0]).get("model") if names[0] == "dit" else None)
    loras = read_asked(merge, parts, source)
    reads = {part: merging(found, [(of[part], weight) for of, weight in loras if part in of]) for part, found in parts.items()}
    plans = {part: _plan(found, part, configs[part], places[part].naming, reads[part]) for part, found in parts.items()}
    if form == "comfy":
        plans |= {part: _prefixed(plans[part], prefix) for part in names if part in ("dit", "dit_low")}
    tokenizer = source / "tokenizer" if (source / "tokenizer").is_dir() else None
    if form == "comfy" and "umt5" in plans and tokenizer and (tokenizer / SPIECE).is_file():
        plans["umt5"] = _with_spiece(plans["umt5"], tokenizer / SPIECE)
    how: dict[str, Any] = {}
    if form == "diffusers" and "dit" in parts:
        said = {name: value for name, value in (parts["dit"].sampling or {}).items() if value is not None}
        how = {**sampling(configs["dit"], 1 + ("dit_low" in parts)), **said}
        if "dit_low" in parts and how.get("boundary") is None:
            where = f"{source / 'model.json'}: parts.dit.sampling.boundary"
            raise InputError(f"{where}: not found, expected where the expert for low noise begins")
    real = check_destination(destination, source, sum(nbytes(specs) for specs, _ in plans.values()))
    with files.atomic_folder(real) as folder:
        for part, (specs, read) in plans.items():
            write_model(folder, places[part], specs, read, in_megabytes(f"writing {part}", step))
        if tokenizer and form != "comfy":
            copy_tokenizer(tokenizer, folder / TOKENIZERS[form])
        if form == "diffusers" and "dit" in parts:
            present = [*parts, *(["tokenizer"] if tokenizer else [])]
            for name, said in pipeline_files(configs["dit"], present, how).items():
                (folder / name).parent.mkdir(exist_ok=True)
                _write_json(folder / name, said)
    shapes = [spec.shape for specs, _ in plans.values() for spec in specs.values()]
    lost = ["CLIP's text tower"] if "clip" in parts and configs["clip"] != parts["clip"].config else []
    lost += [part for part in PARTS.values() if part in there]
    return Exported(tuple(plans), len(shapes), sum(map(prod, shapes)), tuple(lost))


def write_model(folder: Path, spot: Spot, specs: Specs, read: Read, tell: Tell | None = None) -> None:
    """One model below `folder`, which exists; `specs` and `read` are by torch names."""
    place = folder / spot.folder
    place.mkdir(exist_ok=True)
    limit = None if spot.config is None else SHARD_BYTES
    shards = write_shards(place, spot.stem, specs, read, limit=limit, metadata=FOR_TORCH, tell=tell)
    if len(shards) > 1:
        _write_json(place / f"{spot.stem}.safetensors.index.json", _index(shards, nbytes(specs)))
    if spot.config is not None:
        _write_json(place / "config.json", spot.config)


def _plan(found: Part, part: str, config: Any, naming: str, read_ours: Read) -> tuple[Specs, Read]:
    """What is to be written of a part: under torch names, in torch's shapes. read_ours: gives its arrays by our paths."""
    where = str(found.checkpoint.where)
    shapes = KINDS[part].shapes(config)
    torch = torch_entries([path for path in found.specs if path in shapes], KINDS[part].table(config), where, naming)
    pieces = {name: [(entry, found.specs[path]) for entry, path in several] for name, several in torch.items()}
    specs = {name: torch_spec(name, several, where) for name, several in pieces.items()}

    def read(name: str) -> np.ndarray:
        return join([(entry, read_ours(path)) for entry, path in torch[name]])

    return specs, read


def _prefixed(plan: tuple[Specs, Read], prefix: str) -> tuple[Specs, Read]:
    specs, read = plan
    return {prefix + name: spec for name, spec in specs.items()}, lambda name: read(name.removeprefix(prefix))


def _with_spiece(plan: tuple[Specs, Read], file: Path) -> tuple[Specs, Read]:
    specs, read = plan
    data = np.frombuffer(file.read_bytes(), np.uint8)
    more = {SPIECE_ENTRY: jax.ShapeDtypeStruct(data.shape, data.dtype)}
    return specs | more, lambda name: data if name in more else read(name)


def _index(shards: Sequence[Shard], size: int) -> dict[str, Any]:
    weight_map = {name: shard.name for shard in shards for name in shard.entries}
    return {"metadata": {"total_size": size}, "weight_map": weight_map}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    files.write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
