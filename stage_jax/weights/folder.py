"""Model folders: `model.json` and the safetensors files of every part, in our own names, layers unstacked.

    model.json            {"format": 1, "parts": {"vae": {"config": {...}, "dtype": ..., "sha256": ..., "licence": ...}}}
    vae/model.safetensors
    dit/model-00001-of-00012.safetensors

A part of several files has "files": {name: sha256} in its entry, and as its own sha256 that of their lines "NAME SHA256".
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Shaped
from safetensors.numpy import save

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.stacking import stacked, unstack_params
from stage_jax.weights.checkpoint import Checkpoint, open_files
from stage_jax.weights.config_types import Config, read_config
from stage_jax.weights.header import DTYPES
from stage_jax.weights.places import SUFFIX, parse_json
from stage_jax.weights.shards import Read, Specs, Tell, file_sha256, joint_sha256, write_shards
from stage_jax.weights.table import listed, shown

FORMAT = 1
STEM = "model"  # of a part's files
SHARD_BYTES = 512 << 20  # our choice: pieces that a network copies again without pain
_SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")


def write_part(
    folder: Path,
    part: str,
    config: Any,
    params: dict[str, Array],
    *,
    dtype: str = "float32",
    licence: str = "Apache-2.0",
    sampling: dict[str, Any] | None = None,
) -> None:
    """Writes or replaces one part of a model folder, also one of several files. `config` is the model's frozen dataclass,
    `params` its parameters by dotted path, stacked or not, `sampling` how it likes to be sampled (solver, steps, shift,
    guidance, size, frames, fps)."""
    arrays = {name: np.asarray(jnp.asarray(value, dtype)) for name, value in unstack_params(params).items()}
    data = save(dict(sorted(arrays.items())))
    (folder / part).mkdir(parents=True, exist_ok=True)
    files.write_bytes(folder / part / "model.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    entry = {"config": dataclasses.asdict(config), "dtype": dtype, "sha256": digest, "licence": licence}
    _enter(folder, part, entry | ({"sampling": sampling} if sampling else {}))
    for stale in (folder / part).iterdir():
        if _SHARD.fullmatch(stale.name):
            stale.unlink()


def stream_part(
    folder: Path, part: str, config: Any, specs: Specs, read: Read, facts: Mapping[str, Any], tell: Tell | None = None
) -> None:
    """`write_part` for models that do not fit into memory: `read` gives the arrays of `specs` (unstacked paths) one by one,
    and each keeps its type. facts: what else `model.json` is to say. The caller makes it all or nothing
    (`files.atomic_folder`).
    """
    (folder / part).mkdir(parents=True)
    shards = write_shards(folder / part, STEM, specs, read, limit=SHARD_BYTES, tell=tell)
    dtypes = sorted({np.dtype(spec.dtype).name for spec in specs.values()})
    entry = {"config": dataclasses.asdict(config), "dtype": dtypes[0] if len(dtypes) == 1 else "mixed", **facts}
    hashes = {shard.name: shard.sha256 for shard in shards}
    if len(shards) == 1:
        _enter(folder, part, entry | {"sha256": shards[0].sha256})
    else:
        _enter(folder, part, entry | {"sha256": joint_sha256(hashes), "files": hashes})


def stream_params(
    folder: Path, part: str, config: Any, params: Mapping[str, Array], dtype: str, facts: Mapping[str, Any]
) -> None:
    """`stream_part` of parameters on devices, stacked or not, in `dtype`: the host holds one layer's array at a time."""
    places: dict[str, tuple[str, int | None]] = {}
    for name, value in params.items():
        around = stacked(name)
        layers = {f"{around[0]}.{i}.{around[1]}": (name, i) for i in range(value.shape[0])} if around else {name: (name, None)}
        places |= layers

    def read(path: str) -> Shaped[np.ndarray, "..."]:
        name, layer = places[path]
        return np.asarray((params[name] if layer is None else params[name][layer]).astype(dtype))

    shapes = {path: params[name].shape[0 if layer is None else 1 :] for path, (name, layer) in places.items()}
    specs = {path: jax.ShapeDtypeStruct(shape, dtype) for path, shape in sorted(shapes.items())}
    stream_part(folder, part, config, specs, read, facts)


def _enter(folder: Path, part: str, entry: dict[str, Any]) -> None:
    manifest = read_manifest(folder) if (folder / "model.json").exists() else {"format": FORMAT, "parts": {}}
    manifest["parts"][part] = entry
    files.write_text(folder / "model.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `model.json` of a model folder."""
    path = folder / "model.json"
    if not path.is_file():
        raise InputError(f"{path}: not found, expected a model folder")
    manifest = parse_json(path)
    if manifest.get("format") != FORMAT or not isinstance(manifest.get("parts"), dict):
        raise InputError(f"{path}: expected a model folder of format {FORMAT} with its parts")
    return manifest


def read_part(folder: Path, part: str, config_type: type[Config]) -> tuple[Config, dict[str, Array]]:
    """Configuration and float32 parameters of one part. `weights.stream` reads parts that are too large for this."""
    checkpoint = open_part(folder, part)
    config = part_config(folder, part, config_type)
    return config, {name: jnp.asarray(checkpoint.read(name), jnp.float32) for name in checkpoint.entries}


def part_config(folder: Path, part: str, config_type: type[Config]) -> Config:
    """The configuration of one part."""
    said, where = read_entry(folder, part)["config"], f"{folder / 'model.json'}: parts.{part}.config"
    return read_config(said, where, config_type)


def open_part(folder: Path, part: str) -> Checkpoint:
    """The arrays of one part by our unstacked paths, to be read one at a time. InputError if the files are not those that
    `model.json` names: all of them are hashed."""
    entry = read_entry(folder, part)
    hashes = entry.get("files", {f"{STEM}{SUFFIX}": entry["sha256"]})
    if "files" in entry and not _are_shards(hashes, entry["sha256"]):
        raise InputError(f"{folder / 'model.json'}: parts.{part}.files: expected {STEM}-00001-of-... with hashes that add up")
    paths = {folder / part / name: digest for name, digest in sorted(hashes.items())}
    for path, digest in paths.items():
        if not path.is_file():
            raise InputError(f"{path}: not found, though model.json names the part {part!r}")
        if file_sha256(path) != digest:
            raise InputError(f"{path}: its contents are not those that model.json names (sha256 differs)")
    checkpoint = open_files(folder / part, paths, entry["config"])
    if wrong := [f"{stored.name} is {stored.dtype}" for stored in checkpoint.entries.values() if stored.dtype not in DTYPES]:
        raise InputError(f"{folder / part}: {listed(wrong, '; ')}, expected {', '.join(DTYPES)}")
    return checkpoint


def _are_shards(hashes: Any, joint: str) -> bool:
    return (
        isinstance(hashes, dict)
        and all(_SHARD.fullmatch(name) and isinstance(digest, str) for name, digest in hashes.items())
        and joint_sha256(hashes) == joint
    )


def read_entry(folder: Path, part: str) -> dict[str, Any]:
    """What `model.json` says of one part: config, sha256 and more."""
    parts, where = read_manifest(folder)["parts"], folder / "model.json"
    if part not in parts:
        raise InputError(f"{where}: no part {part!r}, found {listed(sorted(parts), ', ') or 'none'}")
    entry = parts[part]
    if not (isinstance(entry, dict) and isinstance(entry.get("config"), dict) and isinstance(entry.get("sha256"), str)):
        raise InputError(f"{where}: parts.{part}: expected its config and the sha256 of its weights")
    for name, kind, expected in (("model", str, "a name"), ("sampling", dict, "an object")):
        if name in entry and not isinstance(entry[name], kind):
            raise InputError(f"{where}: parts.{part}.{name}: found {shown(entry[name])}, expected {expected}")
    return entry


def copy_part(source: Path, folder: Path, part: str) -> None:
    """Copies a part as it is, with what `model.json` says of it; the tokenizer has no weights and no entry."""
    (folder / part).mkdir(parents=True, exist_ok=True)
    for file in sorted((source / part).iterdir()):
        files.write_bytes(folder / part / file.name, file.read_bytes())
    entry = read_manifest(source)["parts"].get(part)
    if entry is not None:
        _enter(folder, part, entry)


def part_hash(folder: Path, part: str) -> str:
    """The hash by which caches and manifests name the weights of a part."""
    return read_entry(folder, part)["sha256"]


def part_hashes(folder: Path) -> dict[str, str]:
    """The same of all parts that the folder has."""
    return {part: entry["sha256"] for part, entry in read_manifest(folder)["parts"].items()}


def part_sampling(folder: Path, part: str) -> dict[str, Any]:
    """How a part likes to be sampled; empty if it does not say."""
    return read_entry(folder, part).get("sampling", {})
