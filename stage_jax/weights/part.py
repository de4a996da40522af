"""One part of a pipeline: a configuration, and arrays by our unstacked paths that are read one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax.sharding import Sharding
from jaxtyping import Array, Shaped

from stage_jax.errors import InputError
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.header import DTYPES
from stage_jax.weights.kinds import KINDS, Asked
from stage_jax.weights.layout import Layout
from stage_jax.weights.shards import Specs, files_sha256
from stage_jax.weights.strangers import refuse_types
from stage_jax.weights.stream import load_params
from stage_jax.weights.table import Entry, Table, likely_naming, match


@dataclass(frozen=True, eq=False)
class Part:
    """model: the name in the zoo, if it has one. specs: shapes and types by our unstacked paths, in the order of the files.
    sha256: of the weights, where a model folder knows it. sampling: how it likes to be sampled, where one says so."""

    checkpoint: Checkpoint
    model: str | None
    config: Any
    specs: Specs
    sha256: str | None = None
    sampling: Mapping[str, Any] | None = None
    _table: Table | None = None
    _torch: Mapping[str, tuple[Entry, str]] | None = None  # per path; None for our own names

    def digest(self) -> str:
        """The hash by which manifests name the weights: that of the model folder, or else of the files' bytes."""
        return self.sha256 or files_sha256(self.checkpoint.files)

    def read(self, path: str) -> Shaped[np.ndarray, "..."]:
        """One array in our layout, in the type that it is stored in."""
        if self._torch is None:
            return self.checkpoint.read(path)
        entry, name = self._torch[path]
        return entry.to_ours(self.checkpoint.read(name))

    def name(self, path: str) -> str:
        """What the files call the array of a path."""
        return path if self._torch is None else self._torch[path][1]

    def params(
        self,
        abstract: Mapping[str, Any],
        shardings: Mapping[str, Sharding] | None = None,
        dtype: Any = None,
        *,
        partial: bool = False,
    ) -> dict[str, Array]:
        """All arrays, or if `partial` those of `abstract`, streamed onto devices: `stream.load_params`."""
        return load_params(self.checkpoint, self._table, abstract, shardings, dtype, partial=partial)


def torch_part(checkpoint: Checkpoint, part: str, asked: Asked) -> Part:
    """A part under torch names, in any naming. InputError where entries are missing, unknown or of other shapes or types."""
    kind = KINDS[part]
    model, config = kind.detect(checkpoint, asked)
    table, shapes = kind.table(config), kind.shapes(config)
    torch = match(checkpoint.shapes, table, shapes, str(checkpoint.where), likely_naming(checkpoint.entries, table)[0])
    stored = {path: checkpoint.entries[name] for path, (_, name) in torch.items()}
    refuse_types(dict.fromkeys(stored.values()))
    specs = {path: jax.ShapeDtypeStruct(shapes[path].shape, DTYPES[entry.dtype]) for path, entry in stored.items()}
    return Part(checkpoint, model, config, specs, _table=table, _torch=torch)


def torch_parts(layout: Layout, heads: int | None = None) -> dict[str, Part]:
    """All parts of a pipeline; the layout's sampling is that of `dit`. InputError also where the two experts differ in size."""
    asked = Asked(heads, experts=sum(part in ("dit", "dit_low") for part in layout.parts))
    parts = {part: torch_part(checkpoint, part, asked) for part, checkpoint in layout.parts.items()}
    if "dit" in parts and layout.sampling:
        parts["dit"] = replace(parts["dit"], sampling=layout.sampling)
    if "dit_low" in parts and parts["dit"].config != parts["dit_low"].config:
        high, low = parts["dit"].checkpoint.where, parts["dit_low"].checkpoint.where
        raise InputError(f"{low}: its sizes are not those of the other expert, {high}")
    return parts
