"""Loads a model's parameters onto four devices, in a process of its own, and says what went where.

    XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m tests.weights.sharded_worker CHECKPOINT FOLDER RESULT.npz

CHECKPOINT: a torch checkpoint. FOLDER: a model folder of the same weights. RESULT holds the parameters of both, whole, under
"torch:" and "ours:".
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.detect import family_of, naming_of
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.folder import open_part
from stage_jax.weights.stream import load_params

SPECS = {
    "blocks.ffn.up.kernel": P(None, "fsdp", "model"),
    "blocks.ffn.down.kernel": P(None, ("fsdp", "model")),
    "blocks.self_attention.query.kernel": P("fsdp", None, "model"),  # layers too
    "blocks.modulation": P(None, None, None, "model"),
    "text_embedding.0.kernel": P("model", "fsdp"),
    "head.projection.bias": P("model"),
}


def main(checkpoint: Path, folder: Path, result: Path) -> None:
    assert jax.device_count() == 4
    mesh = Mesh(np.array(jax.devices()).reshape(2, 2), ("fsdp", "model"))
    torch = open_checkpoint(checkpoint)
    config = family_of(torch, naming_of(torch))[1]
    abstract = flat_params(nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0))))
    assert SPECS.keys() <= abstract.keys()
    shardings = {name: NamedSharding(mesh, SPECS.get(name, P())) for name in abstract}
    arrays = {}
    for kind, source, table in (("torch", torch, DIT_TABLE), ("ours", open_part(folder, "dit"), None)):
        params = load_params(source, table, abstract, shardings, dtype="float32")
        assert params.keys() == abstract.keys()
        for name, value in params.items():
            assert value.sharding.is_equivalent_to(shardings[name], value.ndim), f"{name}: {value.sharding}"
            assert {s.data.shape for s in value.addressable_shards} == {shardings[name].shard_shape(value.shape)}, name
            arrays[f"{kind}:{name}"] = np.asarray(value)
    np.savez(result, **arrays)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
