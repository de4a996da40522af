"""Checkpoints: what they hold, what is left of those that were cut short, and a disk that is full."""

from __future__ import annotations

import asyncio
import errno
import functools
import gc
import shutil
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stage_jax.errors import InputError
from stage_jax.training.checkpoints import Checkpoints, read_weights
from stage_jax.training.state import TrainState, init_state, make_train_step
from tests.training.toy import ToyTask, toy_config


def quiet(line: str) -> None:
    raise AssertionError(line)


def fresh() -> TrainState:
    return init_state(ToyTask(toy_config(1)).init(jax.random.key(0)), optax.adam(0.1))


def stream():
    return iter(grain.MapDataset.range(400).map(np.float32).batch(4).to_iter_dataset())


def same(a, b) -> None:
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(one, other)


def written(folder: Path, steps: int, every: int) -> list[TrainState]:
    """States 1 to `steps` of a run that saved every `every` steps; copies, since the step takes its arguments' memory."""
    step = jax.jit(make_train_step(ToyTask(toy_config(1)), optax.adam(0.1), seed=0, ema=0.9), donate_argnums=0)
    state, batches, states = fresh(), stream(), []
    checkpoints = Checkpoints(folder, every, quiet)
    for done in range(1, steps + 1):
        state, _ = step(state, {}, jnp.asarray(next(batches)))
        states.append(jax.tree.map(jnp.copy, state))
        if checkpoints.is_due(done):
            checkpoints.save(done, state, batches)
    checkpoints.close()
    return states


def restored(folder: Path, say=quiet) -> tuple[TrainState, float]:
    """The state, and the first number of the next batch."""
    batches = stream()
    checkpoints = Checkpoints(folder, 2, say)
    state = checkpoints.restore(fresh(), batches)
    checkpoints.close()
    return state, float(next(batches)[0])


def test_a_checkpoint_holds_the_state_of_its_step(tmp_path: Path):
    """Also when the arrays are donated to further steps while it is being written."""
    states = written(tmp_path, 5, every=2)
    found, following = restored(tmp_path)
    assert int(found.step) == 4 and following == 16.0
    assert jax.tree.structure(found) == jax.tree.structure(fresh())
    same(found, states[3])


def test_weights_are_read_without_optimiser_and_loader(tmp_path: Path):
    states = written(tmp_path, 4, every=2)
    for name in ("opt", "data"):
        shutil.rmtree(tmp_path / "checkpoints" / "4" / name)
    for name in ("params", "ema"):
        step, weights = read_weights(tmp_path, fresh().params, name)
        assert step == 4
        same(weights, getattr(states[3], name))
    with pytest.raises(InputError, match="found no checkpoint, expected one"):
        read_weights(tmp_path / "nothing", fresh().params, "ema")


DAMAGES = {
    "a file cut short": lambda folder: [p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]) for p in folder.rglob("d/*")],
    "no parameters": lambda folder: shutil.rmtree(folder / "params"),
    "no place in the data": lambda folder: shutil.rmtree(folder / "data"),
    "an empty folder": lambda folder: [shutil.rmtree(p) if p.is_dir() else p.unlink() for p in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_last_good_one_is_gone_on_from(tmp_path: Path, damage: str):
    states = written(tmp_path, 4, every=2)
    newest = tmp_path / "checkpoints" / "4"
    DAMAGES[damage](newest)
    said: list[str] = []
    found, following = restored(tmp_path, said.append)
    same(found, states[1])
    assert following == 8.0
    (line,) = said
    assert line.startswith(f"{tmp_path / 'checkpoints'}: the checkpoint of step 4 cannot be read and is not used (")
    assert not newest.exists()
    DAMAGES[damage](tmp_path / "checkpoints" / "2")
    with pytest.raises(InputError, match="found no checkpoint that can be read"):
        restored(tmp_path, said.append)


def test_one_that_was_never_finished_is_said(tmp_path: Path):
    written(tmp_path, 2, every=2)
    (tmp_path / "checkpoints" / "4.orbax-checkpoint-tmp").mkdir()
    said: list[str] = []
    found, _ = restored(tmp_path, said.append)
    assert int(found.step) == 2
    assert said == [f"{tmp_path / 'checkpoints'}: the checkpoint of step 4 was never finished and is not used"]


@pytest.mark.parametrize("call", ["save", "wait_until_finished"])
def test_a_full_disk_is_an_os_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str):
    """The words are TensorStore's own; Orbax raises them at the next save or at the end."""
    words = "RESOURCE_EXHAUSTED: Error writing: Failed to write 202 bytes to file 22: No space left on device"

    def fail(*_, **__):
        raise ValueError(words)

    checkpoints = Checkpoints(tmp_path, 1, quiet)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.manager, call, fail)
        save = functools.partial(checkpoints.save, 1, fresh(), stream())
        run = checkpoints.close if call == "wait_until_finished" else save
        with pytest.raises(OSError, match="No space left on device") as caught:
            run()
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(tmp_path / "checkpoints"))
    checkpoints.close()


async def _fail(error: Exception, kind: str) -> None:
    """Leaves a failed write behind that nobody waits for."""

    async def orbax_write() -> None:
        raise error

    loop = asyncio.get_running_loop()
    if kind == "future":
        written = loop.create_future()
        written.set_exception(error)
    elif kind == "task":
        written = loop.create_task(orbax_write())
    else:
        written = asyncio.gather(orbax_write())
    await asyncio.sleep(0.01)
    del written


@pytest.mark.parametrize("kind", ["task", "future", "gathered"])
def test_writes_that_nobody_waits_for_are_not_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str):
    """Where a disk is full, the other writes of a checkpoint fail too; what others leave behind is told."""
    written(tmp_path, 1, every=1)
    unfinished = f'RESOURCE_EXHAUSTED: Error writing "{tmp_path}/2.orbax-checkpoint-tmp/d/c5df": No space left on device'
    asyncio.run(_fail(ValueError(unfinished), kind))
    gc.collect()
    assert not caplog.records
    asyncio.run(_fail(ValueError("of something else"), "future"))
    gc.collect()
    assert [record.getMessage().splitlines()[0] for record in caplog.records] == ["Future exception was never retrieved"]
