"""The parts of a pipeline, from a model folder, from Wan's own folder or from diffusers', behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import jax

from stage_jax.errors import InputError
from stage_jax.weights.folder import open_part, part_config, part_hash, part_sampling, read_entry, read_manifest
from stage_jax.weights.header import DTYPES
from stage_jax.weights.kinds import KINDS
from stage_jax.weights.layout import find_parts
from stage_jax.weights.part import Part, torch_parts
from stage_jax.weights.stream import check_layers, check_shapes
from stage_jax.weights.table import listed


@dataclass(frozen=True, eq=False)
class Pipeline:
    """where: what was opened. parts: `dit`, `dit_low`, `vae`, `umt5`, `clip`, as far as they are there."""

    where: Path
    parts: Mapping[str, Part]
    tokenizer_folder: Path | None

    def part(self, name: str) -> Part:
        """InputError if it is not there."""
        if name not in self.parts:
            raise InputError(f"{self.where}: no {name} ({KINDS[name].words}), found {listed([*self.parts], ', ')}")
        return self.parts[name]

    @property
    def tokenizer(self) -> Path:
        """The folder of umT5's tokenizer. InputError if it is not there."""
        if self.tokenizer_folder is None:
            raise InputError(f"{self.where}: no tokenizer, expected the folder tokenizer or google/umt5-xxl")
        return self.tokenizer_folder


def open_pipeline(path: Path, *, heads: int | None = None) -> Pipeline:
    """Reads headers, and of a model folder the bytes, whose hashes have to be those of model.json; arrays are read when they
    are asked for. heads: of the DiT, where neither a config.json nor the size tells. InputError, one line, for bad parts."""
    if (path / "model.json").is_file():
        tokenizer = path / "tokenizer"
        names = [part for part in KINDS if part in read_manifest(path)["parts"]]
        return Pipeline(path, {part: our_part(path, part) for part in names}, tokenizer if tokenizer.is_dir() else None)
    layout = find_parts(path)
    return Pipeline(path, torch_parts(layout, heads), layout.tokenizer)


def our_part(folder: Path, part: str) -> Part:
    """A part of a model folder. InputError unless its arrays are those of its configuration."""
    checkpoint, config = open_part(folder, part), part_config(folder, part, KINDS[part].config)
    if part in ("dit", "dit_low", "umt5"):
        check_layers(checkpoint, config.layers)
    check_shapes(checkpoint, KINDS[part].shapes(config))
    stored = checkpoint.entries.items()
    specs = {path: jax.ShapeDtypeStruct(entry.shape, DTYPES[entry.dtype]) for path, entry in stored}
    model = read_entry(folder, part).get("model")
    return Part(checkpoint, model, config, specs, part_hash(folder, part), part_sampling(folder, part))
