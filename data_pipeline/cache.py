"""What encoders made of a data set, computed once and bound to the encoders' weights by their hashes.

A cache is a folder beside the records: `index.json`, with the hash of each part of the model that made it, and arrays. A
reader refuses one that other weights made.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float16, Int

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.story.types import Story, story_from_json

INDEX = "index.json"
Build = Callable[[Path], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, eq=False)
class OnDisk:
    """Arrays of a cache that are read from disk as they are needed. Pickled, they are names of files, not their contents:
    worker processes open them anew."""

    def __getstate__(self) -> dict[str, Any]:
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: _File(str(value.filename)) if isinstance(value, np.memmap) else value for name, value in fields.items()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            opened = np.load(value.name, mmap_mode="r") if isinstance(value, _File) else value
            object.__setattr__(self, name, opened)


@dataclasses.dataclass(frozen=True)
class _File:
    name: str


@dataclasses.dataclass(frozen=True, eq=False)
class Latents(OnDisk):
    """An opened cache. stories: in record order. first_shot: where each story's shots begin in `latents`. shot_rows: where
    the latents are of preferences, the shot that each is of, counted through all stories. characters: where they are of
    reference pictures, likewise the character."""

    stories: tuple[Story, ...]
    first_shot: tuple[int, ...]
    latents: Float16[np.ndarray, "entries n *rest"]
    shot_rows: tuple[int, ...] = ()
    characters: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True, eq=False)
class Texts(OnDisk):
    """Embedded captions, of every shot in story order, then the empty one; zero where the mask is."""

    embeddings: Float16[np.ndarray, "captions l d"]
    mask: Int[np.ndarray, "captions l"]


@dataclasses.dataclass(frozen=True, eq=False)
class Pictures(OnDisk):
    """CLIP's view of all pairs, shots in story order. frames: embeddings of start and end frames; texts: of the shots'
    descriptions; tokens: the image tokens of the end frames. None where they were not asked for."""

    frames: Float16[np.ndarray, "shots 2 d"] | None = None
    texts: Float16[np.ndarray, "shots d"] | None = None
    tokens: Float16[np.ndarray, "shots m e"] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class ImageTokens(OnDisk):
    """CLIP's rows of the first and of the last picture of every shot's clip, in story order."""

    tokens: Float16[np.ndarray, "shots 2 m e"]


def open_cache(folder: Path, made_by: Mapping[str, str], build: Build) -> dict[str, Any]:
    """The index of the cache in `folder`; where there is none, `build` first writes its arrays and returns its index.

    Of processes that share the disk one builds, and the others wait for it. made_by: hashes of the encoders' files by the
    part's name. InputError, with both hashes, if others made it.
    """
    if not folder.exists():
        with files.locked(folder.parent.parent / f".{folder.name}.lock"):
            if not folder.exists():
                with files.atomic_folder(folder) as building:
                    (building / INDEX).write_text(json.dumps({**made_by, **build(building)}))
    path = folder / INDEX
    try:
        index = json.loads(path.read_text())
        found = {part: index[part] for part in made_by}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not the index of a cache ({error}); remove {folder} to make it anew") from None
    for part, digest in made_by.items():
        if found[part] != digest:
            told = str(found[part])[:12]
            raise InputError(f"{folder}: made by the {part} {told}, expected {digest[:12]}; remove it to make it anew")
    return index


def told_stories(folder: Path, index: Mapping[str, Any], count: int) -> tuple[Story, ...]:
    """The stories that a cache is of; InputError if it is not of `count`."""
    if len(index["stories"]) != count:
        raise InputError(f"{folder}: holds {len(index['stories'])} stories, expected {count}; remove it to make it anew")
    return tuple(story_from_json(story, str(folder / INDEX)) for story in index["stories"])
