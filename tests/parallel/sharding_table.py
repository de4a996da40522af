"""How the parameters of Wan's DiTs are spread over meshes of eight, as a table; writes it to where the test reads it.

    python -m tests.parallel.sharding_table
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
from flax import nnx
from jax.sharding import AbstractMesh

from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, stacked
from stage_jax.models.zoo import DITS
from stage_jax.parallel.mesh import AXES
from stage_jax.parallel.rules import parameter_spec

PATH = Path(__file__).parents[1] / "data" / "shardings.txt"
MODELS = ("wan2.1-t2v-1.3b", "wan2.1-flf2v-14b")
MESHES = {"fsdp 8": (1, 8, 1, 1), "data 2 fsdp 2 tensor 2": (2, 2, 1, 2)}


@functools.cache
def parameters(model: str) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes by path; made of one layer, since tracing forty takes a while."""
    config = DITS[model]
    params = flat_params(nnx.eval_shape(lambda: DiT(dataclasses.replace(config, layers=1), nnx.Rngs(0))))
    return {
        path: jax.ShapeDtypeStruct((config.layers, *leaf.shape[1:]), leaf.dtype) if stacked(path) else leaf
        for path, leaf in params.items()
    }


def mesh(name: str) -> AbstractMesh:
    return AbstractMesh(MESHES[name], AXES)


def table() -> str:
    """A line for every model, mesh and parameter: path, shape, axes of the mesh by side."""
    lines = []
    for model in MODELS:
        for name in MESHES:
            lines.append(f"# {model} on {name}")
            for path, leaf in parameters(model).items():
                spec = parameter_spec(path, leaf.shape, leaf.dtype.itemsize, mesh(name))
                axes = (*spec, *[None] * (leaf.ndim - len(spec)))
                sides = " ".join(map(_side, leaf.shape, axes))
                lines.append(f"{path} {sides}")
    return "\n".join(lines) + "\n"


def _side(side: int, axes: str | tuple[str, ...] | None) -> str:
    names = "+".join([axes] if isinstance(axes, str) else axes or ())
    return f"{side}:{names}" if names else f"{side}"


if __name__ == "__main__":
    PATH.write_text(table())
