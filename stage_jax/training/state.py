"""What a run carries from step to step, and one pure step."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from stage_jax.errors import InputError
from stage_jax.models.sequence import pytree

Params: TypeAlias = dict[str, Array]
Sums: TypeAlias = dict[str, tuple[Array, Array]]
"""Of each metric its sum over examples and how many of them took part: sums of parts of a batch add up."""
TrainStep: TypeAlias = Callable[["TrainState", Params, Any], tuple["TrainState", dict[str, Array]]]


@runtime_checkable
class Objective(Protocol):
    """What a step makes smaller."""

    def draw(self, batch: Any, key: PRNGKeyArray) -> Any:
        """The batch with all that is random about its loss, row by row: leading axes of the batch's length."""

    def loss(self, params: Params, examples: Any) -> tuple[Float[Array, " b"], Sums]:
        """One value per row of what `draw` gave."""


@pytree(data=("step", "params", "ema", "opt", "skipped", "row"))
@dataclasses.dataclass(frozen=True)
class TrainState:
    """step: steps done. params: float32 master weights by dotted path, of what is trained. ema: their moving average, where
    one is kept. opt: optax state. skipped: steps without a finite loss or gradient, which changed nothing; row: how many of
    them the latest steps are."""

    step: Int[Array, ""]
    params: Params
    ema: Params | None
    opt: Any
    skipped: Int[Array, ""]
    row: Int[Array, ""]


def init_state(params: Params, optimizer: optax.GradientTransformation, *, ema: bool = True) -> TrainState:
    average = jax.tree.map(jnp.copy, params) if ema else None
    step, skipped, row = (jnp.zeros((), jnp.int32) for _ in range(3))
    return TrainState(step, params, average, optimizer.init(params), skipped, row)


def split_params(params: Mapping[str, Any], frozen: str | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """(trained, frozen): frozen are those whose path the pattern is found in. InputError if that is none of them, or all."""
    still = {path for path in params if frozen is not None and re.search(frozen, path)}
    if frozen is not None and len(still) in (0, len(params)):
        found = "all" if still else "none"
        raise InputError(f"config.frozen: {frozen!r} is found in {found} of the {len(params)} parameters, expected some")
    return {p: v for p, v in params.items() if p not in still}, {p: v for p, v in params.items() if p in still}


def make_train_step(
    objective: Objective,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    ema: float | None = None,
    accumulate: int = 1,
) -> TrainStep:
    """`step(state, frozen, batch) -> state, metrics`, pure: its randomness is `fold_in(key(seed), step)`, so that a resumed run
    is the same run, bit for bit. frozen: parameters that the loss reads and nothing trains.

    ema: decay of the average, which rises to it with the steps, so that the start is forgotten early. accumulate: parts of
    the batch that follow one another; everything random is drawn for the whole batch before, so that they change nothing.
    """

    def train_step(state: TrainState, frozen: Params, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        examples = objective.draw(batch, jax.random.fold_in(jax.random.key(seed), state.step))
        (loss, sums), grads = _gradients(objective, state.params, frozen, examples, accumulate)
        norm = optax.tree.norm(grads)
        updates, opt = optimizer.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        average = None if ema is None else _averaged(state, params, ema)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        params, average, opt = jax.tree.map(
            lambda new, old: jnp.where(finite, new, old), (params, average, opt), (state.params, state.ema, state.opt)
        )
        skipped, row = state.skipped + ~finite, jnp.where(finite, 0, state.row + 1)
        metrics = {name: total / jnp.maximum(count, 1) for name, (total, count) in sums.items()}
        metrics |= {"loss": loss, "grad_norm": norm, "skipped": skipped, "skipped_in_a_row": row}
        return TrainState(state.step + 1, params, average, opt, skipped, row), metrics

    return train_step


def _gradients(
    objective: Objective, params: Params, frozen: Params, examples: Any, parts: int
) -> tuple[tuple[Float[Array, ""], Sums], Params]:
    """(mean loss, sums of the metrics) and the mean loss's gradient, over the batch in so many parts."""

    def mean_loss(params: Params, examples: Any) -> tuple[Float[Array, ""], Sums]:
        losses, sums = objective.loss(frozen | params, examples)
        return losses.mean(), sums

    gradients = jax.value_and_grad(mean_loss, has_aux=True)
    if parts == 1:
        return gradients(params, examples)
    split = jax.tree.map(lambda rows: _in_parts(rows, parts), examples)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(gradients, params, jax.tree.map(lambda rows: rows[0], split)))
    total, _ = jax.lax.scan(lambda sum_, part: (jax.tree.map(jnp.add, sum_, gradients(params, part)), None), zeros, split)
    (loss, sums), grads = total
    return (loss / parts, sums), jax.tree.map(lambda grad: grad / parts, grads)


def _in_parts(rows: Shaped[Array, "b *n"], parts: int) -> Shaped[Array, "parts _ *n"]:
    """Every part takes each `parts`-th row, so that rows that lie on several devices stay where they are."""
    if len(rows) % parts:
        raise InputError(f"config.accumulate: found {parts}, expected a number that divides the batch of {len(rows)}")
    return rows.reshape(-1, parts, *rows.shape[1:]).swapaxes(0, 1)


def _averaged(state: TrainState, params: Params, most: float) -> Params:
    done = state.step.astype(jnp.float32)
    decay = jnp.minimum(most, (1 + done) / (10 + done))
    return jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)
