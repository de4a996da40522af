"""What can be trained. A task knows its model, its batches, its loss and how its result is written as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.loader import Share
from data_pipeline.stream import Stream
from stage_jax.errors import InputError
from stage_jax.training.state import Params


@runtime_checkable
class Task(Protocol):
    """One thing that can be trained."""

    def init(self, key: PRNGKeyArray) -> Params:
        """Parameters to start from."""

    def batches(self) -> Stream:
        """Endless batches, a pure function of the config and the step, which is in the checkpoint."""

    def loss(self, params: Params, batch: Any, key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        """Mean loss and metrics of one batch."""

    def export(self, params: Params, folder: Path) -> None:
        """Writes the model folder."""


def own_share() -> Share:
    """The rows of every batch that this process makes."""
    return Share(jax.process_index(), jax.process_count())


def make_task(config: ConfigDict) -> Task:
    """The task that `config.task` names."""
    if config.task == "vae":
        from stage_jax.training.tasks.vae import VAETask

        return VAETask(config)
    if config.task == "step2":
        from stage_jax.training.tasks.step2 import STEP2Task

        return STEP2Task(config)
    if config.task == "filler":
        from stage_jax.training.tasks.filler import FillerTask

        return FillerTask(config)
    raise InputError(f"config.task: found {config.task!r}, expected vae, step2 or filler")
