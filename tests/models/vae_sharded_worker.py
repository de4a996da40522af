"""A VAE with its pictures' rows spread over four devices, in a process of its own.

    XLA_FLAGS=--xla_force_host_platform_device_count=4 python -m tests.models.vae_sharded_worker RESULT.npz

RESULT holds what one device and what four make of the same clips, and the memory that a full-size VAE needs beside input and
output on each of them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import VAES
from tests.goldens import drawn

SMALL = VAEConfig(base=2, multipliers=(1, 2, 2, 2), res_blocks=1)
ROWS = {"encode": P(None, None, "context"), "decode": P(None, None, None, "context")}  # of pictures, of latents


def shardings(method: str) -> tuple[NamedSharding, NamedSharding]:
    """Of what goes in and of what comes out."""
    mesh = Mesh(np.array(jax.devices()), ("context",))
    other = "decode" if method == "encode" else "encode"
    return NamedSharding(mesh, ROWS[method]), NamedSharding(mesh, ROWS[other])


def compiled(model: VAE, method: str, shape: tuple[int, ...], *, spread: bool):
    graphdef, state = nnx.split(model)
    rows, made = shardings(method)
    x = jax.ShapeDtypeStruct(shape, jnp.float32, sharding=rows if spread else None)

    def run(state, x):
        vae = nnx.merge(graphdef, state)
        return vae.encode(x) if method == "encode" else vae.decode(x, finish=lambda x: x)  # clipping would hide large values

    return jax.jit(run, out_shardings=made if spread else None).lower(state, x).compile()


def main(result: Path) -> None:
    assert jax.device_count() == 4
    rng, arrays = np.random.default_rng(0), {}
    model = drawn(nnx.eval_shape(lambda: VAE(SMALL, nnx.Rngs(0))))
    state = nnx.state(model)
    inputs = {"encode": rng.uniform(-1, 1, (1, 9, 64, 16, 3)), "decode": rng.standard_normal((1, 16, 3, 8, 2))}
    full = nnx.eval_shape(lambda: VAE(VAES["wan2.1"], nnx.Rngs(0)))
    sizes = {"encode": (1, 81, 512, 832, 3), "decode": (1, 16, 21, 64, 104)}
    for method, x in inputs.items():
        x = x.astype(np.float32)
        spread = compiled(model, method, x.shape, spread=True)
        rows, made = shardings(method)
        replicated = jax.device_put(state, NamedSharding(rows.mesh, P()))
        found = spread(replicated, jax.device_put(x, rows))
        assert found.sharding.is_equivalent_to(made, found.ndim)
        arrays[f"{method}:four"] = np.asarray(found)
        arrays[f"{method}:one"] = np.asarray(compiled(model, method, x.shape, spread=False)(state, x))
        for name, flag in (("four", True), ("one", False)):
            memory = compiled(full, method, sizes[method], spread=flag).memory_analysis().temp_size_in_bytes
            arrays[f"{method}:{name}:bytes"] = np.asarray(memory)
    np.savez(result, **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
