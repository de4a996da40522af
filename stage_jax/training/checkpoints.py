"""Checkpoints of a run: parameters, EMA, optimiser and loader position as separate items, written asynchronously and
atomically by Orbax, so that a kill at any moment leaves the last whole one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import grain
import jax
import orbax.checkpoint as ocp

from stage_jax.files import system_errors
from stage_jax.training.state import TrainState


class Checkpoints:
    """The checkpoints under `workdir/checkpoints`; the newest two are kept. Where the disk is full, `save` of this checkpoint
    or the next one raises OSError, or `close`."""

    def __init__(self, workdir: Path, every: int):
        # Orbax raises what goes wrong, and also logs it: hundreds of lines, from each of its threads.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        options = ocp.CheckpointManagerOptions(max_to_keep=2)
        self.every, self.folder = every, workdir / "checkpoints"
        self.manager = ocp.CheckpointManager(self.folder.absolute(), options=options)

    def save(self, state: TrainState, batches: Any, *, force: bool = False) -> None:
        """Saves if the step is due (or `force`). `batches` is the stream, standing before the next batch."""
        step = int(state.step)
        if (step % self.every and not force) or step in self.manager.all_steps():
            return
        items = {name: ocp.args.StandardSave(value) for name, value in _items(state).items()}
        with system_errors(self.folder):
            self.manager.save(step, args=ocp.args.Composite(**items, data=grain.checkpoint.CheckpointSave(batches)))

    def restore(self, like: TrainState, batches: Any) -> TrainState:
        """The newest state, or `like` itself where there is none; `batches` is moved to where it stood."""
        step = self.manager.latest_step()
        if step is None:
            return like
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, _items(like))
        items = {name: ocp.args.StandardRestore(value) for name, value in abstract.items()}
        found = self.manager.restore(
            step, args=ocp.args.Composite(**items, data=grain.checkpoint.CheckpointRestore(batches))
        )
        return TrainState(found.progress["step"], found.params, found.ema, found.opt)

    def close(self) -> None:
        """Waits until everything is on disk."""
        with system_errors(self.folder):
            self.manager.wait_until_finished()
            self.manager.close()


def _items(state: TrainState) -> dict[str, Any]:
    """One checkpoint item per field; Orbax wants trees, so the step counter stands in a dict."""
    return {"progress": {"step": state.step}, "params": state.params, "ema": state.ema, "opt": state.opt}
