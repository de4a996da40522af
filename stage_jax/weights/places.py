"""Where a checkpoint's files lie: a folder of shards with or without an index, or one file. Nothing outside is opened."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from stage_jax.errors import InputError
from stage_jax.weights.header import MOST_JSON
from stage_jax.weights.table import listed, shown

PICKLES = (".pth", ".pt", ".bin", ".ckpt", ".pkl")
STEM = "diffusion_pytorch_model"  # of the files in Wan's own folders and in diffusers'
SUFFIX = ".safetensors"
EXPERTS = {"original": ("high_noise_model", "low_noise_model"), "diffusers": ("transformer", "transformer_2")}
_NUMBERED = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.safetensors")


@dataclass(frozen=True)
class Place:
    """path: what was asked for. index: the index file, if there is one, and the weight_map (entry -> file) in it."""

    path: Path
    files: tuple[Path, ...]
    config: Mapping[str, Any]
    index: Path | None = None
    weight_map: Mapping[str, str] | None = None


def experts(path: Path) -> dict[str, Path]:
    """Part of a model folder -> the folder or file of its checkpoint: `dit`, and where there is one for the low noise
    `dit_low`. diffusers calls the high-noise one `transformer`, the low-noise one `transformer_2`.
    """
    for high, low in EXPERTS.values():
        found = {part: path / name for part, name in (("dit", high), ("dit_low", low)) if os.path.lexists(path / name)}
        if not found:
            continue
        single = high == "transformer" and "dit" in found and not _names_second(path / "model_index.json")
        if len(found) < 2 and not single:
            raise InputError(f"{path / (low if 'dit' in found else high)}: not found, expected the other expert there")
        for place in found.values():
            _real_inside(place, path)
        return found
    return {"dit": path}


def find(path: Path) -> Place:
    """The files of one checkpoint; of a folder, those that bear the name of Wan's DiT, else those that are safetensors, where
    there are any. InputError if there are none, if there are several checkpoints, if files are missing, or if one lies
    elsewhere."""
    real = _real(path)
    if real.is_file():
        return Place(path, (path,), {})
    if not real.is_dir():
        raise InputError(f"{path}: neither a file nor a folder")
    places = places_in(path)
    named = [place for place in places if place.files[0].name.startswith(STEM)]
    if not (places := named or [place for place in places if place.files[0].suffix == SUFFIX] or places):
        there = listed(sorted(file.name for file in path.iterdir())[:3], ", ") or "nothing"
        raise InputError(f"{path}: no {SUFFIX} or .pth file in it, found {there}")
    if len(places) > 1:
        names = f"{places[0].files[0].name}, {places[1].files[0].name}"
        raise InputError(f"{path}: found {len(places)} models ({names}), expected one of them")
    return replace(places[0], path=path, config=_config(path))


def places_in(folder: Path) -> list[Place]:
    """The checkpoints that lie in a folder itself: files whose names differ in numbers alone are one, so are those of an index.
    A config.json belongs to the model of Wan or diffusers that has its name, or to the only checkpoint."""
    groups: dict[tuple[str, str], list[Path]] = {}
    for file in sorted(path for path in folder.iterdir() if path.suffix in (SUFFIX, *PICKLES)):
        groups.setdefault((_stem(file.name), file.suffix), []).append(file)
    index = _index(folder)
    weight_map = None if index is None else _weight_map(index, folder)
    named = (STEM, SUFFIX) if index is None else (_stem(index.name), SUFFIX)
    if weight_map is not None:
        shards = sorted(set(weight_map.values()))
        if missing := [name for name in shards if not os.path.lexists(folder / name)]:
            raise InputError(f"{index}: names {listed(missing, ', ')}, not found beside it")
        others = {key: [file for file in group if file.name not in shards] for key, group in groups.items() if key != named}
        groups = {named: [folder / name for name in shards]} | {key: group for key, group in others.items() if group}
    found = []
    for key, group in groups.items():
        _check_files(folder, group)
        if key == named or len(groups) == 1:
            shown_by = (index, weight_map) if key == named else (None, None)
            found.append(Place(folder, tuple(group), _config(folder), *shown_by))
        else:
            found.append(Place(group[0], tuple(group), {}))
    return found


def read_json(path: Path, folder: Path) -> dict[str, Any]:
    """A JSON object from a file of this folder."""
    file_inside(path, folder)
    return parse_json(path)


def parse_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. InputError for what is too large, too deep or none."""
    if (size := path.stat().st_size) > MOST_JSON:
        raise InputError(f"{path}: {size:,} bytes, expected {MOST_JSON:,} at most")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    return value


def _names_second(model_index: Path) -> bool:
    """Whether diffusers' model_index.json speaks of a second transformer (["diffusers", class], else [null, null])."""
    if not os.path.lexists(model_index):
        return False
    second = read_json(model_index, model_index.parent).get("transformer_2")
    return isinstance(second, list) and any(second)


def _weight_map(index: Path, folder: Path) -> dict[str, str]:
    names = read_json(index, folder).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise InputError(f"{index}: expected a weight_map of entries to files")
    for name in names.values():
        if Path(name).name != name or name in ("", "..") or "\0" in name:
            raise InputError(f"{index}: names the file {shown(name)}, expected one beside it")
    return names


def _index(folder: Path) -> Path | None:
    indices = sorted(folder.glob(f"*{SUFFIX}.index.json"))
    if len(indices) > 1:
        raise InputError(f"{folder}: found {len(indices)} indices ({indices[0].name}, {indices[1].name}), expected one")
    return indices[0] if indices else None


def _stem(name: str) -> str:
    """What the files of one checkpoint have in common."""
    if name.startswith(STEM):
        return STEM
    numbered = _NUMBERED.fullmatch(name)
    return numbered[1] if numbered else name.partition(SUFFIX)[0]


def _config(folder: Path) -> dict[str, Any]:
    return read_json(folder / "config.json", folder) if os.path.lexists(folder / "config.json") else {}


def _check_files(folder: Path, group: list[Path]) -> None:
    """Files have to lie inside, and where they are numbered, to be there from the first to the last."""
    for file in group:
        file_inside(file, folder)
        if numbered := _NUMBERED.fullmatch(file.name):
            stem, count = numbered[1], int(numbered[3])
            wanted = (f"{stem}-{i:05d}-of-{count:05d}{SUFFIX}" for i in range(1, count + 1))
            if missing := next((name for name in wanted if folder / name not in group), None):
                raise InputError(f"{folder / missing}: not found, {file.name} is one of {count}")


def file_inside(path: Path, folder: Path) -> Path:
    """The file without links. InputError if it is none, or leads out of the folder."""
    real = _real_inside(path, folder)
    if not real.is_file():
        raise InputError(f"{path}: not a file")
    return real


def _real_inside(path: Path, folder: Path) -> Path:
    """The path without links. InputError if it leads out of the folder, but for the blobs of a Hugging Face cache:
    `models--X/snapshots/REVISION/...` there is made of links to `models--X/blobs/...`.
    """
    real, root = _real(path), _real(folder)
    roots = [root, *(parent.parent.parent / "blobs" for parent in (root, *root.parents) if parent.parent.name == "snapshots")]
    if not any(real.is_relative_to(allowed) for allowed in roots):
        raise InputError(f"{path}: leads out of {folder}, to {real}")
    return real


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path, strict=True))
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror})") from None
