"""A task of three numbers, for tests of the loop and not of what it learns."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, ClassVar

import grain
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.stream import Stream
from stage_jax.models.work import Work
from stage_jax.training.state import Params, Sums
from tests.training import sizes

ROWS = 4


def row(bad: tuple[int, ...], index: int) -> np.float32:
    """Row `index` of the data; those of bad batches are NaN."""
    return np.float32(np.nan if index // ROWS in bad else index % 7)


class ToyTask:
    """w * x should be the noise that is drawn. config.bad: batches that are not finite."""

    needs: ClassVar[dict] = {}
    takes: ClassVar[dict] = {}
    levels = (0.0, 1.0)

    def __init__(self, config: ConfigDict):
        self.bad = tuple(config.get("bad", ()))

    def init(self, key: PRNGKeyArray) -> Params:
        return {"a.w": jnp.arange(1.0, 4.0), "b.w": jnp.ones(3)}

    def batches(self) -> Stream:
        rows = grain.MapDataset.range(10_000).map(functools.partial(row, self.bad))
        return Stream(rows.batch(ROWS), jax.device_put)

    def held_out(self, split: str) -> Stream:
        assert split == "validation"
        return Stream(grain.MapDataset.range(1000).map(functools.partial(row, ())).batch(ROWS), jax.device_put)

    def draw(self, batch: Float[Array, " b"], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> dict[str, Array]:
        level = jnp.ones_like(batch) if sigma is None else sigma
        return {"x": batch, "noise": level[:, None] * jax.random.normal(key, (len(batch), 3))}

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        error = params["a.w"] * params["b.w"] * examples["x"][:, None] + examples["noise"]
        late = examples["x"] > 3
        return jnp.square(error).mean(-1), {"late": (jnp.where(late, examples["x"], 0).sum(), late.sum())}

    def work(self, batch: Any) -> Work:
        return Work(len(batch), 1e6 * len(batch))

    def export(self, params: Params, folder: Path) -> None:
        np.savez(folder / "toy.npz", **params)


def toy_config(steps: int, **changes: Any) -> ConfigDict:
    config = sizes.common(steps) | {"name": "toy", "task": "toy", "data": {"dir": "none"}}
    return ConfigDict(config | {"optimizer": sizes.OPTIMIZER | {"name": "adamw", "lr": 0.1}} | changes)
