"""What can be trained. A task knows its model, its batches, its loss and how its result is written as a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
from jax.sharding import Mesh
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.loader import Share
from data_pipeline.stream import Place, Stream, onto
from stage_jax.errors import InputError
from stage_jax.models.work import Work
from stage_jax.parallel.mesh import batch_parts, batch_share, make_mesh, process_grid
from stage_jax.parallel.rules import batch_sharding
from stage_jax.training.config import Rules, check_given, check_values
from stage_jax.training.state import Params, Sums


@runtime_checkable
class Task(Protocol):
    """One thing that can be trained; made of a config.

    needs, takes: values of the config that it reads beyond those of every run, and those that may be left out. levels: lowest
    and highest noise level that it trains on, twice the same where it knows none.
    """

    needs: ClassVar[Rules]
    takes: ClassVar[Rules]
    levels: tuple[float, float]

    def init(self, key: PRNGKeyArray) -> Params:
        """Parameters to start from."""

    def batches(self) -> Stream:
        """Endless batches, a pure function of the config and the step, which is in the checkpoint."""

    def held_out(self, split: str) -> Stream:
        """Batches of another split, of which nothing is dropped; the same ones in all runs."""

    def draw(self, batch: Any, key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None) -> Any:
        """`state.Objective.draw`; sigma: of each row, if it is not to be drawn."""

    def loss(self, params: Params, examples: Any) -> tuple[Float[Array, " b"], Sums]:
        """`state.Objective.loss`."""

    def work(self, batch: Any) -> Work | None:
        """What a step on this batch computes; None where nobody counts it."""

    def export(self, params: Params, folder: Path) -> None:
        """Writes the model folder."""


def mesh_of(config: ConfigDict) -> Mesh:
    """The devices as `config.mesh` wants them: all are `data` where it says nothing."""
    return make_mesh(config.mesh.to_dict() if config.get("mesh") else {"data": -1})


def own_share(config: ConfigDict) -> Share:
    """The rows of every batch that this process makes: those that its devices of `config.mesh` hold."""
    return Share(*batch_share(process_grid(mesh_of(config)), jax.process_index()))


def onto_mesh(config: ConfigDict) -> Place:
    """Lays this process's rows of a batch onto its devices of `config.mesh`. InputError if those do not divide the rows."""
    mesh, count = mesh_of(config), own_share(config).count
    put, runs = onto(batch_sharding(mesh)), batch_parts(mesh)

    def place(batch: Any) -> Any:
        for rows in {len(leaf) * count for leaf in jax.tree.leaves(batch)}:
            if rows % runs:
                raise InputError(f"config.mesh: found data x fsdp {runs}, expected a number that divides a batch of {rows}")
        return put(batch)

    return place


def make_task(config: ConfigDict) -> Task:
    """The task that `config.task` names. InputError for values that it needs."""
    from stage_jax.training.tasks import dpo, filler, lora, step2, vae, wan

    tasks: dict[str, type[Task]] = {
        "vae": vae.VAETask, "step2": step2.STEP2Task, "dpo": dpo.DPOTask, "filler": filler.FillerTask,
    } | dict.fromkeys(wan.FORMS, wan.WanTask)  # fmt: skip
    if config.task not in tasks:
        raise InputError(f"config.task: found {config.task!r}, expected one of {', '.join(tasks)}")
    task = tasks[config.task]
    check_values(config, task.needs)
    check_given(config, task.takes)
    if config.get("lora") is None:
        return task(config)
    check_values(config, lora.NEEDS)
    check_given(config, lora.TAKES)
    return lora.LoRATask(task(config), config)
