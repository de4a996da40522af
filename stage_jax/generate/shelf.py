"""Finished work, kept by the hash of what it was made from: a run that was stopped, or a story that was edited, finds it."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from stage_jax import files
from stage_jax.errors import InputError

NAME = ".work"  # of the shelf in the folder of a board


class Shelf:
    """A folder of `<hash>.npz`. It is made with the first piece of work; every piece is written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._used: set[str] = set()

    def get(self, key: str) -> Mapping[str, Shaped[np.ndarray, "..."]] | None:
        """The arrays that were put under `key`, if any were. InputError if they cannot be read."""
        self._used.add(key)
        try:
            with np.load(self._path(key), allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError, zipfile.BadZipFile):
            raise InputError(f"{self._path(key)}: damaged, expected finished work of an earlier run (delete it)") from None

    def put(self, key: str, **arrays: Shaped[np.ndarray, "..."]) -> None:
        self._used.add(key)
        self.folder.mkdir(parents=True, exist_ok=True)
        with files.atomic_path(self._path(key)) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(file, **arrays)

    def tidy(self) -> None:
        """Removes what neither `get` nor `put` was asked about: work that the story no longer has, and what a killed run
        left half-written."""
        kept = {self._path(key) for key in self._used}
        for file in self.folder.glob("*.npz"):
            if file not in kept:
                file.unlink()

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.npz"
