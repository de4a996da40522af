"""Train or resume a run: `stage train --config configs/X.py --workdir DIR`.

Everything a run is stands in its config: the task (what is learned, from which batches), the optimiser, the number of
steps, the seed. A run that is stopped, or killed, goes on from its last checkpoint as if nothing had happened.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from stage_jax import files
from stage_jax.errors import InputError
from stage_jax.parallel.compiler import training_options
from stage_jax.training.checkpoints import Checkpoints
from stage_jax.training.optimizer import make_optimizer
from stage_jax.training.state import TrainState, init_state, make_train_step
from stage_jax.training.tasks import make_task

Say = Callable[[str], None]

NAMES = ("name", "task", "model", "optimizer.name")
COUNTS = ("steps", "log_every", "checkpoint_every")
OPTIONAL_COUNTS = ("workers", "history")  # of config.data: processes that make batches; longest history of a shot
OPTIMIZER = ("lr", "warmup", "flat", "final", "weight_decay", "clip", "b2")


def train(config: ConfigDict, workdir: Path, say: Say = print) -> TrainState:
    """Runs `config.steps` steps, or those that are left of them, and writes the trained model folder to `workdir/model`.

    Metrics go to `workdir/metrics.jsonl`, one line every `config.log_every` steps, with the seconds trained so far."""
    check_config(config, workdir)
    task = make_task(config)

    # State
    params = task.init(jax.random.key(config.seed))
    optimizer = make_optimizer(config.optimizer, config.steps, params)
    state = init_state(params, optimizer)
    batches = task.batches()
    keep_config(config, workdir)  # only now, so that a config that cannot run may be corrected
    checkpoints = Checkpoints(workdir, config.checkpoint_every)
    state = checkpoints.restore(state, batches)
    first = int(state.step)
    train_step = make_train_step(task.loss, optimizer, config.seed, config.ema)
    step_fn = jax.jit(train_step, donate_argnums=0, compiler_options=training_options())
    say(f"{config.name}: {sum(p.size for p in state.params.values()):,} parameters, steps {first} to {config.steps}")

    # Loop
    log = MetricsLog(workdir / "metrics.jsonl", first)
    started, logged = time.monotonic(), first
    for step in range(first, config.steps):
        state, metrics = step_fn(state, next(batches))
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            values = {name: float(value) for name, value in jax.device_get(metrics).items()}
            now = time.monotonic()
            rate = (done - logged) / (now - started)
            log.write(done, values | {"steps_per_second": rate}, now - started)
            left = (config.steps - done) / rate
            say(f"step {done}/{config.steps}  loss {values['loss']:.4f}  {rate:.2f} steps/s  {left / 60:.1f} min left")
            started, logged = now, done
        checkpoints.save(state, batches)
    checkpoints.save(state, batches, force=True)
    checkpoints.close()
    batches.close()

    # Result
    task.export(state.ema, workdir / "model")
    return state


def check_config(config: ConfigDict, workdir: Path) -> None:
    """InputError on values that every run needs and that are missing or of the wrong kind. A run is resumed with the config
    that it was started with, or not at all: InputError names what differs."""
    _check_values(config)
    path = workdir / "config.json"
    if not path.exists():
        return
    old, new = _read_kept(path), json.loads(config_text(config))
    if differ := sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k)):
        raise InputError(f"{path}: this run was started with another config; they differ in {', '.join(differ)}")


def _read_kept(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not JSON ({error}), expected the config that this run was started with") from None
    if not isinstance(kept, dict):
        raise InputError(f"{path}: expected the config that this run was started with, a JSON object")
    return kept


def _check_values(config: ConfigDict) -> None:
    for name in ("optimizer", "data"):
        _check(config, name, lambda group: isinstance(group, ConfigDict), "a group of values")
    for name in (*NAMES, "data.dir"):
        _check(config, name, lambda text: isinstance(text, str) and text != "", "a name")
    for name in COUNTS:
        _check(config, name, lambda count: _is_whole(count) and count > 0, "a whole number above 0")
    for name in OPTIONAL_COUNTS:
        if name in config.data:
            _check(config, f"data.{name}", lambda count: _is_whole(count) and count >= 0, "a whole number, 0 or more")
    _check(config, "seed", lambda seed: _is_whole(seed) and seed >= 0, "a whole number, 0 or more")
    _check(config, "ema", lambda decay: _is_number(decay) and 0 <= decay <= 1, "a number from 0 to 1")
    for name in OPTIMIZER:
        _check(config, f"optimizer.{name}", _is_number, "a number")
    if config.optimizer.name == "muon":
        _check(config, "optimizer.adam_only", lambda text: isinstance(text, str), "a pattern of parameters' names")


def _check(config: ConfigDict, name: str, fits: Callable[[Any], bool], expected: str) -> None:
    *groups, last = name.split(".")
    for group in groups:
        config = config[group]
    if last not in config:
        raise InputError(f"config.{name}: not found, expected {expected}")
    if not fits(config[last]):
        raise InputError(f"config.{name}: found {config[last]!r}, expected {expected}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return (_is_whole(value) or isinstance(value, float)) and math.isfinite(value)


def keep_config(config: ConfigDict, workdir: Path) -> None:
    """Writes the config beside its run."""
    workdir.mkdir(parents=True, exist_ok=True)
    files.write_text(workdir / "config.json", config_text(config))


def config_text(config: ConfigDict) -> str:
    return config.to_json_best_effort(indent=1, sort_keys=True)


class MetricsLog:
    """A line of JSON per report; `seconds` adds up over resumes."""

    def __init__(self, path: Path, step: int):
        """Opens the log of a run that stands at `step`; lines of a later step are of a lost try and are dropped."""
        written = path.read_text().splitlines(keepends=True) if path.exists() else []
        lines = [json.loads(line) for line in written if line.endswith("\n")]  # a kill may have cut the last one short
        self.path, self.lines = path, [line for line in lines if line["step"] <= step]
        self.seconds = self.lines[-1]["seconds"] if self.lines else 0.0
        files.write_text(path, "".join(json.dumps(line) + "\n" for line in self.lines))

    def write(self, step: int, values: dict[str, float], seconds: float) -> None:
        self.seconds += seconds
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, "seconds": round(self.seconds, 2)} | values) + "\n")
