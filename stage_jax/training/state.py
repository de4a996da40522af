"""What a run carries from step to step, and one pure step."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, PRNGKeyArray

Params = dict[str, Array]
LossFn = Callable[[Params, Any, PRNGKeyArray], tuple[Array, dict[str, Array]]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """step: steps done. params: float32 master weights by dotted path. ema: their moving average. opt: optax state."""

    step: Int[Array, ""]
    params: Params
    ema: Params
    opt: Any


def init_state(params: Params, optimizer: optax.GradientTransformation) -> TrainState:
    return TrainState(jnp.zeros((), jnp.int32), params, jax.tree.map(jnp.copy, params), optimizer.init(params))


def make_train_step(
    loss_fn: LossFn, optimizer: optax.GradientTransformation, seed: int, ema_decay: float
) -> Callable[[TrainState, Any], tuple[TrainState, dict[str, Array]]]:
    """`step(state, batch) -> state, metrics`, pure: its randomness is `fold_in(key(seed), step)`, so that a resumed run is
    the same run, bit for bit. The EMA's decay rises with the steps, so that the start is forgotten early."""

    def train_step(state: TrainState, batch: Any) -> tuple[TrainState, dict[str, Array]]:
        key = jax.random.fold_in(jax.random.key(seed), state.step)
        (loss, metrics), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params, batch, key)
        updates, opt = optimizer.update(grads, state.opt, state.params)
        params = optax.apply_updates(state.params, updates)
        done = state.step.astype(jnp.float32)
        decay = jnp.minimum(ema_decay, (1 + done) / (10 + done))
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, params)
        metrics = metrics | {"loss": loss, "grad_norm": optax.global_norm(grads)}
        return TrainState(state.step + 1, params, ema, opt), metrics

    return train_step
