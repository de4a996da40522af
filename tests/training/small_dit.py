"""A DiT of a few thousand parameters in the loop, and the adapters that are trained in it, for tests of LoRA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.stream import Stream
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks.lora import LoRATask
from stage_jax.weights.folder import write_part
from stage_jax.weights.pipeline import our_part
from tests.training import sizes
from tests.training.toy import ToyTask, toy_config

CONFIG = sizes.DiTConfig(**sizes.DIT | {"text_len": 512})  # as Wan's: diffusers' files cannot say another
LORA = {"rank": 2, "alpha": 4, "pattern": r"blocks\.0\.(self_attention\.\w+|ffn\.up)", "base": "bfloat16"}
TIME = 500.0  # step of the noise, always


def row(index: int) -> np.ndarray:
    return np.random.default_rng(index % 2).standard_normal((16, 1, 4, 4), dtype=np.float32)


class SmallTask(ToyTask):
    """A DiT without captions: velocities of random latents."""

    def __init__(self, config: Any):
        self.folder, self.part = Path(config.get("init") or ""), "dit"
        self.dit = nnx.eval_shape(lambda: DiT(CONFIG, nnx.Rngs(0)))

    def init(self, key: PRNGKeyArray) -> Params:
        return our_part(self.folder, self.part).params(flat_params(self.dit))

    def batches(self) -> Stream:
        return Stream(grain.MapDataset.range(1000).map(row).batch(2), jax.device_put)

    def draw(self, batch: Any, key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> Any:
        return {"latent": batch}

    def loss(self, params: Params, examples: Any) -> tuple[Float[Array, " b"], Sums]:
        latent = examples["latent"]
        return jnp.square(velocity(with_params(self.dit, params), latent) + latent).mean((1, 2, 3, 4)), {}


def velocity(dit: DiT, latent: Array, caption: Array | None = None) -> Array:
    caption = jnp.zeros((len(latent), 1, CONFIG.text_dim)) if caption is None else caption
    return dit(t2v_sequence(latent, jnp.full((len(latent),), TIME), caption)).outputs[0]


def write_base(folder: Path) -> Path:
    """A model folder whose head is not zero, else nothing but it would be trained at first."""
    params = jax.jit(lambda: flat_params(DiT(CONFIG, nnx.Rngs(1))))()
    params["head.projection.kernel"] = jax.random.normal(jax.random.key(2), params["head.projection.kernel"].shape) / 4
    write_part(folder, "dit", CONFIG, params)
    return folder


def lora_config(folder: Path, **changes: Any) -> ConfigDict:
    """Of a run on the base in `folder`. changes: in `LORA`."""
    return toy_config(6, init=str(folder), lora=LORA | changes, ema=0.5, checkpoint_every=4, data={"dir": "none"})


def lora_task(config: ConfigDict) -> LoRATask:
    return LoRATask(SmallTask(config), config)
