"""Train or resume a run: `stage train --config configs/X.py --workdir DIR`.

Everything a run is stands in its config: the task (what is learned, from which batches), the optimiser, the number of
steps, the seed. A run that is stopped, or killed, goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import functools
from pathlib import Path

import jax
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from stage_jax import files
from stage_jax.parallel.compiler import training_options
from stage_jax.parallel.distributed import is_first, on_host
from stage_jax.parallel.rules import replicated, shardings, spread
from stage_jax.training.boards import EvaluationBoards
from stage_jax.training.checkpoints import Checkpoints
from stage_jax.training.config import check_config, keep_config
from stage_jax.training.evaluate import Evaluation
from stage_jax.training.metrics import JsonLines, Monitor, Say
from stage_jax.training.optimizer import make_optimizer
from stage_jax.training.state import TrainState, init_state, make_train_step, split_params
from stage_jax.training.stop import Stop, StoppedEarly
from stage_jax.training.summaries import MultiWriter, SummaryWriter
from stage_jax.training.tasks import make_task, mesh_of
from stage_jax.training.tasks.lora import FROZEN
from stage_jax.training.trace import Trace


def train(config: ConfigDict, workdir: Path, say: Say = print) -> TrainState:
    """Runs `config.steps` steps, or those that are left of them, and writes the trained model folder to `workdir/model`. On
    SIGTERM it saves and returns after the step that runs; before the first one it ends the process, with 0.

    Metrics go to `workdir/metrics.jsonl` and to an event file for TensorBoard beside it, every `config.log_every` steps.
    """
    check_config(config, workdir)
    say = say if is_first() else lambda line: None
    try:
        with Stop() as stop:
            return _train(config, workdir, say, stop)
    except StoppedEarly:
        say(f"{config.name}: stopped by SIGTERM before a step was done; the same command begins again there")
        raise


def _train(config: ConfigDict, workdir: Path, say: Say, stop: Stop) -> TrainState:
    task, mesh = make_task(config), mesh_of(config)

    # State; the batches first, since what is wrong with the data is seen soonest
    batches = task.batches()
    params = spread(functools.partial(task.init, jax.random.key(config.seed)), mesh, traced=not config.get("init"))
    still = FROZEN if config.get("lora") else config.get("frozen")
    params, frozen = split_params(params, still)
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    begin = functools.partial(init_state, optimizer=optimizer, ema=config.get("ema") is not None)
    state = spread(begin, mesh, params)
    if is_first():
        keep_config(config, workdir)  # only now, so that a config that cannot run may be corrected
    checkpoints = Checkpoints(workdir, config.checkpoint_every, say)
    state = checkpoints.restore(state, batches)
    first = int(state.step)

    # Step
    settings = {"seed": config.seed, "ema": config.get("ema"), "accumulate": config.get("accumulate") or 1}
    train_step = make_train_step(task, optimizer, **settings)
    placed = (shardings(state, mesh), replicated(mesh))
    step_fn = jax.jit(train_step, donate_argnums=0, out_shardings=placed, compiler_options=training_options())
    evaluation = Evaluation(config, task) if config.get("evaluate") else None
    boards = EvaluationBoards(config, task, workdir) if config.get("boards") else None
    beside = f" and {_count(frozen):,} frozen" if frozen else ""
    say(f"{config.name}: {_count(state.params):,} parameters{beside}, steps {first} to {config.steps}")

    # Loop: nothing in it waits for the device but reports of the step before, checkpoints and the end
    writer, seconds = MultiWriter([]), 0.0
    if is_first():
        lines = JsonLines(workdir / "metrics.jsonl", first)
        writer, seconds = MultiWriter([lines, SummaryWriter(workdir, first)]), lines.last.get("seconds", 0.0)
    monitor = Monitor(config, writer, say, first, seconds)
    trace = Trace(config.get("profile"), workdir / "profile")
    stop.begin()
    with jax.set_mesh(mesh):
        for step in range(first, config.steps):
            trace.before(step)
            batch = next(batches)
            state, metrics = step_fn(state, frozen, batch)
            trace.after(step, state)
            done = step + 1
            if evaluation and evaluation.is_due(done):
                metrics |= evaluation(frozen | _weights(state))
            if boards and boards.is_due(done):
                boards(frozen | _weights(state), done)
            monitor(done, metrics, task.work(batch))
            stopping = stop.asked(done)
            if checkpoints.is_due(done) or done == config.steps or stopping:
                monitor.flush()  # what a checkpoint has behind it must stand in the log
                checkpoints.save(done, state, batches)
            if stopping:
                break
    trace.close()
    checkpoints.close()
    batches.close()
    writer.close()

    # Result
    if int(state.step) < config.steps:
        say(f"{config.name}: stopped by SIGTERM at step {int(state.step)}; the same command goes on from there")
        return state
    weights = on_host(frozen | _weights(state))
    if is_first():
        with files.atomic_folder(workdir / "model") as folder:
            task.export(weights, folder)
    multihost_utils.sync_global_devices("model")  # JAX ends all processes if one of them waits minutes for the others' end
    return state


def _weights(state: TrainState) -> dict[str, jax.Array]:
    """What a run is judged by, and leaves: the moving average, where one is kept."""
    return state.params if state.ema is None else state.ema


def _count(params: dict[str, jax.Array]) -> int:
    return sum(array.size for array in params.values())
