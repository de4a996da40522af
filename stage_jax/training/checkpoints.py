"""Checkpoints of a run: parameters, EMA, optimiser and loader position as separate items, written asynchronously and
atomically by Orbax, so that a kill at any moment leaves the last whole one."""

from __future__ import annotations

import functools
import logging
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import grain
import jax
import orbax.checkpoint as ocp

from stage_jax.errors import InputError
from stage_jax.files import system_errors
from stage_jax.training.state import Params, TrainState

Say = Callable[[str], None]
FOLDER = "checkpoints"
_UNFINISHED = re.compile(r"(\d+)\.orbax-checkpoint-tmp.*")


class Checkpoints:
    """The checkpoints under `workdir/checkpoints`; the newest two are kept. Where the disk is full, `save` of this checkpoint
    or the next one raises OSError, or `close`. say: hears of checkpoints that cannot be gone on from."""

    def __init__(self, workdir: Path, every: int, say: Say):
        self.every, self.folder, self._say = every, workdir / FOLDER, say
        unfinished = [match[1] for path in self.folder.glob("*") if (match := _UNFINISHED.fullmatch(path.name))]
        for step in sorted(unfinished, key=int):
            say(f"{self.folder}: the checkpoint of step {step} was never finished and is not used")
        self.manager = _open(self.folder)

    def is_due(self, step: int) -> bool:
        return step % self.every == 0

    def save(self, step: int, state: TrainState, batches: Any) -> None:
        """Saves the state after `step` steps. `batches` is the stream, standing before the next batch."""
        if step in self.manager.all_steps():
            return
        items = {name: ocp.args.StandardSave(value) for name, value in _items(state).items()}
        with system_errors(self.folder):
            self.manager.save(step, args=ocp.args.Composite(**items, data=grain.checkpoint.CheckpointSave(batches)))

    def restore(self, like: TrainState, batches: Any) -> TrainState:
        """The newest state that can be read, or `like` itself where none was saved; `batches` is moved to where it stood. One
        that cannot be read is set aside. InputError if none can."""
        abstract = {name: _abstract(value) for name, value in _items(like).items()}
        for step in sorted(self.manager.all_steps(), reverse=True):
            data = grain.checkpoint.CheckpointRestore(batches)
            try:
                found = self.manager.restore(step, args=ocp.args.Composite(**abstract, data=data))
            except (OSError, ValueError, KeyError, TypeError) as error:  # of a file that is damaged, cut short or missing
                self._set_aside(step, error)
                continue
            return TrainState(params=found.params, ema=found.get("ema"), opt=found.opt, **found.progress)
        if any(self.folder.glob("*.broken")):
            raise InputError(f"{self.folder}: found no checkpoint that can be read, expected one; remove it to begin anew")
        return like

    def close(self) -> None:
        """Waits until everything is on disk."""
        with system_errors(self.folder):
            self.manager.wait_until_finished()
            self.manager.close()

    def _set_aside(self, step: int, error: Exception) -> None:
        reason = " ".join(str(error).split())[:120]
        self._say(f"{self.folder}: the checkpoint of step {step} cannot be read and is not used ({reason})")
        shutil.rmtree(self.folder / f"{step}.broken", ignore_errors=True)
        (self.folder / str(step)).rename(self.folder / f"{step}.broken")
        self.manager.reload()


def read_weights(workdir: Path, like: Params, item: Literal["params", "ema"]) -> tuple[int, Params]:
    """(steps done, weights) of the newest checkpoint of a run, in the form and sharding of `like`; neither optimiser state nor
    loader is read. InputError if there is none."""
    manager = _open(workdir / FOLDER)
    step = manager.latest_step()
    if step is None:
        raise InputError(f"{workdir / FOLDER}: found no checkpoint, expected one")
    found = manager.restore(step, args=ocp.args.Composite(**{item: _abstract(like)}))
    manager.close()
    return step, found[item]


def _open(folder: Path) -> ocp.CheckpointManager:
    _raise_and_not_print()
    return ocp.CheckpointManager(folder.absolute(), options=ocp.CheckpointManagerOptions(max_to_keep=2))


@functools.cache
def _raise_and_not_print() -> None:
    """Orbax raises what goes wrong, and also logs it: hundreds of lines, from each of its threads. Of its writes that fail
    beside the first one asyncio tells, since nobody waits for them any more. What TensorStore still writes meanwhile then
    finds the event loop closed that it is to report to, which Python prints."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    logging.getLogger("asyncio").addFilter(_is_not_of_a_failed_write)
    before = sys.unraisablehook

    def unraisable(told: Any) -> None:
        if not (isinstance(told.exc_value, RuntimeError) and str(told.exc_value) == "Event loop is closed"):
            before(told)

    sys.unraisablehook = unraisable


def _is_not_of_a_failed_write(record: logging.LogRecord) -> bool:
    """Tasks are told of with their function, which is Orbax's, futures of any class with their error, which names the
    checkpoint that is not finished."""
    told = record.getMessage()
    return not ("exception was never retrieved" in told and "orbax" in told)


def _abstract(tree: Any) -> ocp.args.StandardRestore:
    return ocp.args.StandardRestore(jax.tree.map(ocp.utils.to_shape_dtype_struct, tree))


def _items(state: TrainState) -> dict[str, Any]:
    """One checkpoint item per field, and one for the counters: Orbax wants trees."""
    counters = {"step": state.step, "skipped": state.skipped, "row": state.row}
    items = {"progress": counters, "params": state.params, "opt": state.opt}
    return items if state.ema is None else items | {"ema": state.ema}
