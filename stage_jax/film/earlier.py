"""What an earlier run left in the folder of a board: files that it made, pairs that stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from stage_jax.errors import InputError
from stage_jax.files import is_inside
from stage_jax.story.board import Pair
from stage_jax.story.pairs import read_picture


def earlier_manifest(out: Path) -> Mapping[str, Any] | None:
    """The manifest in `out`; None where there is none, or one of another program's."""
    try:
        found = json.loads((out / "manifest.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(found, dict) and isinstance(found.get("files"), dict) and isinstance(found.get("shots"), list)
    return found if ours else None


def earlier_files(out: Path) -> list[str]:
    """The files that the earlier run made and nobody changed since."""
    found = earlier_manifest(out)
    return [name for name, digest in found["files"].items() if _is_same(out, name, digest)] if found else []


def _is_same(out: Path, name: str, digest: Any) -> bool:
    file = out / name
    inside = not (PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\0" in name)
    if not inside or file.is_symlink() or not file.is_file() or not is_inside(file, out):
        return False
    return hashlib.sha256(file.read_bytes()).hexdigest() == digest


def earlier_memories(out: Path) -> dict[str, str]:
    """By shot, the hash of what the model remembered when its pair was drawn. InputError if there is no board in `out`."""
    found = earlier_manifest(out)
    if found is None:
        raise InputError(f"{out / 'manifest.json'}: found no board, expected that of an earlier run for --only")
    told = [(shot.get("name"), shot.get("pair")) for shot in found["shots"] if isinstance(shot, dict)]
    memories = [(name, pair.get("memory")) for name, pair in told if isinstance(pair, dict)]
    return {name: memory for name, memory in memories if isinstance(name, str) and isinstance(memory, str)}


def frame_file(out: Path, name: str, which: str) -> Path:
    return out / "frames" / f"{name}_{which}.png"


def earlier_pairs(out: Path, names: Iterable[str], size: tuple[int, int]) -> dict[str, Pair]:
    """The pairs of those of the named shots whose two frames stand in `out`. InputError for one that is not of this size."""
    pairs = {}
    for name in names:
        files = {which: frame_file(out, name, which) for which in ("start", "end")}
        if all(file.is_file() for file in files.values()):
            pictures = {which: read_picture(file) for which, file in files.items()}
            for which, picture in pictures.items():
                if picture.shape[:2] != size:
                    found, expected = ("x".join(map(str, sides)) for sides in (picture.shape[:2], size))
                    raise InputError(f"{files[which]}: found a frame of {found}, expected {expected} as the model has it")
            pairs[name] = Pair(**pictures)
    return pairs
