"""Model folders: `model.json` and one safetensors file per part, in our own names, layers unstacked.

    model.json            {"format": 1, "parts": {"vae": {"config": {...}, "dtype": ..., "sha256": ..., "licence": ...}}}
    vae/model.safetensors
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from safetensors import SafetensorError
from safetensors.numpy import load, save

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.models.stacking import unstack_params

FORMAT = 1
Config = TypeVar("Config")


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
    """Writes or replaces one part of a model folder. `config` is the model's frozen dataclass, `params` its parameters by
    dotted path, stacked or not, `sampling` how it likes to be sampled (steps, shift, guidance, size, frames, fps)."""
    arrays = {name: np.asarray(jnp.asarray(value, dtype)) for name, value in unstack_params(params).items()}
    data = save(dict(sorted(arrays.items())))
    (folder / part).mkdir(parents=True, exist_ok=True)
    files.write_bytes(folder / part / "model.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    entry = {"config": dataclasses.asdict(config), "dtype": dtype, "sha256": digest, "licence": licence}
    _enter(folder, part, entry | ({"sampling": sampling} if sampling else {}))


def _enter(folder: Path, part: str, entry: dict[str, Any]) -> None:
    manifest = read_manifest(folder) if (folder / "model.json").exists() else {"format": FORMAT, "parts": {}}
    manifest["parts"][part] = entry
    files.write_text(folder / "model.json", json.dumps(manifest, indent=1, sort_keys=True) + "\n")


def read_manifest(folder: Path) -> dict[str, Any]:
    """The `model.json` of a model folder."""
    path = folder / "model.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: not found, expected a model folder") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not isinstance(manifest.get("parts"), dict):
        raise InputError(f"{path}: expected a model folder of format {FORMAT} with its parts")
    return manifest


def read_part(folder: Path, part: str, config_type: type[Config]) -> tuple[Config, dict[str, Array]]:
    """Configuration and float32 parameters of one part."""
    entry, path = read_entry(folder, part), folder / part / "model.safetensors"
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: not found, though model.json names the part {part!r}") from None
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise InputError(f"{path}: its contents are not those that model.json names (sha256 differs)")
    try:
        arrays = load(data)
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from None
    names = {field.name for field in dataclasses.fields(config_type)}
    if unknown := entry["config"].keys() - names:
        raise InputError(f"{folder / 'model.json'}: parts.{part}.config: unknown {', '.join(sorted(unknown))}")
    try:
        config = config_type(**{name: as_tuples(value) for name, value in entry["config"].items()})
    except (TypeError, ValueError) as error:
        raise InputError(f"{folder / 'model.json'}: parts.{part}.config: {error}") from None
    return config, {name: jnp.asarray(value, jnp.float32) for name, value in arrays.items()}


def read_entry(folder: Path, part: str) -> dict[str, Any]:
    """What `model.json` says of one part: config, sha256 and more."""
    parts, where = read_manifest(folder)["parts"], folder / "model.json"
    if part not in parts:
        raise InputError(f"{where}: no part {part!r}, found {', '.join(sorted(parts)) or 'none'}")
    entry = parts[part]
    if not (isinstance(entry, dict) and isinstance(entry.get("config"), dict) and isinstance(entry.get("sha256"), str)):
        raise InputError(f"{where}: parts.{part}: expected its config and the sha256 of its weights")
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


def part_sampling(folder: Path, part: str) -> dict[str, Any]:
    """How a part likes to be sampled; empty if it does not say."""
    return read_entry(folder, part).get("sampling", {})


def as_tuples(value: Any) -> Any:
    """JSON's lists as the tuples that frozen configs hold."""
    return tuple(map(as_tuples, value)) if isinstance(value, list) else value
