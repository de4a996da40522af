"""Writes a checkpoint of random weights in the form of Wan's own, at full size, without holding it in memory.

    python tools/write_checkpoint.py wan2.1-t2v-1.3b out/random --dtype bfloat16

The weights are those of the goldens' recipe: an entry depends on its name, its shape and the seed alone. A model of two
experts gets both, the low-noise one by the next seed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from stage_jax import files
from stage_jax.cli.arguments import whole
from stage_jax.errors import InputError
from stage_jax.evaluation.goldens import draw
from stage_jax.models.dit import DiTConfig
from stage_jax.models.zoo import DITS, named
from stage_jax.progress import Progress
from stage_jax.weights.destination import check_destination
from stage_jax.weights.detect import TWO_EXPERTS
from stage_jax.weights.dit_table import DIT_TABLE, dit_shapes
from stage_jax.weights.export import write_model
from stage_jax.weights.formats import spots
from stage_jax.weights.header import DTYPES
from stage_jax.weights.shards import Specs, in_megabytes, nbytes
from stage_jax.weights.table import torch_entries, torch_spec


def torch_specs(config: DiTConfig, dtype: str) -> Specs:
    """The state dict of a DiT in Wan's own names and order of axes."""
    shapes = {path: jax.ShapeDtypeStruct(leaf.shape, dtype) for path, leaf in dit_shapes(config).items()}
    entries = torch_entries(shapes, DIT_TABLE)
    return {name: torch_spec(name, [(entry, shapes[path]) for entry, path in pieces]) for name, pieces in entries.items()}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    made.add_argument("model", help=f"one of {', '.join(DITS)}")
    made.add_argument("out", type=Path, help="a new or empty folder")
    made.add_argument("--seed", type=whole(0), default=0, help="default: 0")
    dtypes = [dtype.name for dtype in DTYPES.values()]
    made.add_argument("--dtype", choices=dtypes, default="bfloat16", help="default: bfloat16")
    return made


def write_random(model: str, out: Path, seed: int, dtype: str, progress: Progress) -> None:
    config = named(DITS, model)
    specs = torch_specs(config, dtype)
    parts = ("dit", "dit_low") if model.startswith(TWO_EXPERTS) else ("dit",)
    places = spots("original", dict.fromkeys(parts, config), model)
    with files.atomic_folder(check_destination(out, None, len(parts) * nbytes(specs))) as folder:
        for i, part in enumerate(parts):

            def read(entry: str, seed: int = seed + i) -> np.ndarray:
                return draw(entry, specs[entry].shape, seed).astype(specs[entry].dtype)

            write_model(folder, places[part], specs, read, in_megabytes(f"{model} {part}", progress.step))


def main(argv: Sequence[str] | None = None) -> int:
    args = parser().parse_args(argv)
    try:
        with Progress() as progress:
            write_random(args.model, args.out, args.seed, args.dtype, progress)
    except (InputError, OSError) as error:
        print(f"write_checkpoint: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
