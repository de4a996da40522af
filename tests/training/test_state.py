"""One step: its randomness, its parts, its average, and what it does not do."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from stage_jax.errors import InputError
from stage_jax.training.state import init_state, make_train_step, split_params
from tests.training.toy import ToyTask, toy_config

BATCH = jnp.arange(8.0)


def toy_step(seed: int = 0, accumulate: int = 1, ema: float | None = 0.9):
    """A step whose loss draws noise."""
    task, optimizer = ToyTask(toy_config(1)), optax.adam(0.1)
    state = init_state(task.init(jax.random.key(0)), optimizer, ema=ema is not None)
    return state, jax.jit(make_train_step(task, optimizer, seed=seed, ema=ema, accumulate=accumulate))


def test_step_is_pure_and_its_noise_is_the_steps():
    state, step = toy_step()
    a, b = (step(state, {}, BATCH) for _ in range(2))
    assert all((x == y).all() for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    assert int(a[0].step) == 1 and set(a[1]) == {"loss", "grad_norm", "skipped", "skipped_in_a_row", "late"}
    assert float(a[1]["late"]) == (4 + 5 + 6 + 7) / 4  # a mean over the examples that take part
    _, other = toy_step(seed=1)[1](state, {}, BATCH)
    assert float(other["loss"]) != float(a[1]["loss"])
    later = step(dataclasses.replace(state, step=jnp.int32(5)), {}, BATCH)
    assert float(later[1]["loss"]) != float(a[1]["loss"])


def test_ema_follows_with_a_rising_decay():
    state, step = toy_step()
    expected = np.asarray(state.params["a.w"], np.float64)
    for done in range(12):
        state, _ = step(state, {}, BATCH)
        decay = min(0.9, (1 + done) / (10 + done))
        expected = decay * expected + (1 - decay) * np.asarray(state.params["a.w"])
    np.testing.assert_allclose(state.ema["a.w"], expected, rtol=1e-5)
    assert toy_step(ema=None)[1](toy_step(ema=None)[0], {}, BATCH)[0].ema is None


def test_four_parts_are_the_whole_batch():
    """Noise and all: loss, metrics and parameters of three steps."""
    found = []
    for accumulate in (1, 4):
        state, step = toy_step(accumulate=accumulate)
        for _ in range(3):
            state, metrics = step(state, {}, BATCH)
        found.append((state.params, state.ema, metrics))
    for one, four in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(four, one, rtol=1e-5)
    with pytest.raises(InputError, match=r"config.accumulate: found 3, expected a number that divides the batch of 8"):
        toy_step(accumulate=3)[1](state, {}, BATCH)


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_a_step_that_is_not_finite_changes_nothing_but_its_count(bad: float):
    state, step = toy_step()
    state, _ = step(state, {}, BATCH)
    for row in (1, 2):
        after, metrics = step(state, {}, BATCH.at[3].set(bad))
        assert (int(after.step), int(after.skipped), int(after.row)) == (1 + row, row, row)
        assert int(metrics["skipped"]) == row and not np.isfinite(metrics["loss"])
        kept = [(s.params, s.ema, s.opt) for s in (after, state)]
        assert all((new == old).all() for new, old in zip(*map(jax.tree.leaves, kept), strict=True))
        state = after
    after, metrics = step(state, {}, BATCH)
    assert (int(after.skipped), int(metrics["skipped_in_a_row"])) == (2, 0)
    assert (after.params["a.w"] != state.params["a.w"]).all()


def test_what_is_frozen_is_read_and_not_trained():
    params = ToyTask(toy_config(1)).init(jax.random.key(0))
    trained, frozen = split_params(params, r"^b\.")
    assert set(trained) == {"a.w"} and set(frozen) == {"b.w"}
    assert split_params(params, None) == (params, {})
    optimizer = optax.adam(0.1)
    step = jax.jit(make_train_step(ToyTask(toy_config(1)), optimizer, seed=0, ema=0.9))
    state, metrics = step(init_state(trained, optimizer), frozen, BATCH)
    assert set(state.params) == set(state.ema) == set(state.opt[0].mu) == {"a.w"}
    _, other = step(init_state(trained, optimizer), {"b.w": 2 * frozen["b.w"]}, BATCH)
    assert float(other["loss"]) > float(metrics["loss"]) > 0
    for pattern, found in (("nothing", "none"), ("w", "all")):
        with pytest.raises(InputError, match=f"config.frozen: '{pattern}' is found in {found} of the 2 parameters"):
            split_params(params, pattern)
