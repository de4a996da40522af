"""Compiles one training step of the 1.3B for a TPU topology and prints its footprint as JSON.

    JAX_PLATFORMS=cpu TPU_SKIP_MDS_QUERY=1 python -m tests.parallel.compile_worker t2v|step2 v5p:2x2x1 '{"fsdp": 4}' BATCH

t2v: 81 frames of 480x832. step2: a pair of such pictures beside one frame of memory. Parameters and AdamW's state are float32,
products bfloat16, layers scanned and rematerialised; no EMA is kept.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from stage_jax.losses.flow_matching import velocity_error
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.sequence import Segment, TokenSequence, grid_positions
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.parallel.mesh import make_mesh
from stage_jax.parallel.preflight import abstract, footprint, topology_devices
from stage_jax.parallel.rules import batch_sharding, replicated, shardings
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.training.state import Params, Sums, init_state, make_train_step
from stage_jax.training.tasks.flow import draw_noise, noised_rows

HEIGHT, WIDTH = 60, 104  # of the latents of 480x832 pictures
FRAMES = {"t2v": 21, "step2": 2}


def sequence(kind: str, noisy: jax.Array, timestep: jax.Array, batch: dict[str, jax.Array]) -> TokenSequence:
    if kind == "t2v":
        return t2v_sequence(noisy, timestep, batch["caption"])
    target = Segment(noisy, grid_positions(2, HEIGHT, WIDTH, times=(0.0, 1.0))[None])
    there = jnp.broadcast_to(batch["there"][:, None], (noisy.shape[0], target.size // 2))
    memory = Segment(
        batch["memory"], grid_positions(1, HEIGHT, WIDTH, times=(-1.0,))[None], valid=there, target=False, t_slot=1
    )
    timesteps = jnp.stack([timestep, jnp.zeros_like(timestep)], axis=1)
    return TokenSequence((target, memory), timesteps, batch["caption"][:, None])


@dataclasses.dataclass(frozen=True)
class Objective:
    kind: str
    model: DiT

    def draw(self, batch: dict[str, jax.Array], key: jax.Array, sigma: None = None) -> dict[str, jax.Array]:
        return batch | draw_noise(batch["latent"], key, NoiseLevels(1.0))

    def loss(self, params: Params, examples: dict[str, jax.Array]) -> tuple[jax.Array, Sums]:
        noisy, sigma, target = noised_rows(examples["latent"], examples)
        velocity = with_params(self.model, params)(sequence(self.kind, noisy, 1000 * sigma, examples)).outputs[0]
        return velocity_error(velocity, target), {}


def main(kind: str, topology: str, axes: str, batch_size: str) -> None:
    sizes = dataclasses.replace(zoo.DITS["wan2.1-t2v-1.3b"], dtype="bfloat16", remat=True)
    mesh, rows = make_mesh(json.loads(axes), topology_devices(topology)), int(batch_size)
    model = nnx.eval_shape(lambda: DiT(sizes, nnx.Rngs(0)))
    optimizer = optax.adamw(1e-4)
    shapes = {
        "latent": (rows, 16, FRAMES[kind], HEIGHT, WIDTH),
        "memory": (rows, 16, 1, HEIGHT, WIDTH),
        "caption": (rows, sizes.text_len, sizes.text_dim),
    }
    batch = {name: jax.ShapeDtypeStruct(shape, jnp.bfloat16) for name, shape in shapes.items()}
    batch["there"] = jax.ShapeDtypeStruct((rows,), jnp.bool_)
    state = jax.eval_shape(lambda params: init_state(params, optimizer, ema=False), flat_params(model))
    where = shardings(state, mesh)
    began = time.monotonic()
    with jax.set_mesh(mesh):
        train_step = make_train_step(Objective(kind, model), optimizer, seed=0)
        step = jax.jit(train_step, donate_argnums=0, out_shardings=(where, replicated(mesh)))
        rows_of = jax.tree.map(lambda _: batch_sharding(mesh), batch)
        compiled = step.lower(abstract(state, where), {}, abstract(batch, rows_of)).compile()
    print(json.dumps(dataclasses.asdict(footprint(compiled)) | {"seconds": round(time.monotonic() - began)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
