"""Optimisers and schedules by name."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from stage_jax.errors import InputError
from stage_jax.training.optimizer import learning_rate, make_optimizer
from tests.training import sizes


def test_learning_rate():
    rate = learning_rate(ConfigDict({"lr": 1.0, "warmup": 4, "flat": 0.5, "final": 0.1}), 20)
    found = [float(rate(i)) for i in range(21)]
    np.testing.assert_allclose(found[:5], [0.2, 0.4, 0.6, 0.8, 1.0], rtol=1e-5)
    np.testing.assert_allclose(found[4:11], 1.0)
    assert (np.diff(found[10:]) < 0).all()
    np.testing.assert_allclose(found[-1], 0.1, rtol=1e-4)
    cosine = learning_rate(ConfigDict({"lr": 1.0, "warmup": 4, "flat": 0.5, "final": 0.1, "decay": "cosine"}), 20)
    np.testing.assert_allclose([cosine(10), cosine(15), cosine(20)], [1.0, 0.55, 0.1], rtol=1e-5)


def test_clipping_is_of_the_norm_over_all_parameters():
    config = ConfigDict(sizes.OPTIMIZER | {"name": "adamw", "b2": 0.9, "weight_decay": 0.0, "clip": 1.0})
    grads = {"a": jnp.full(9, 4.0), "b": jnp.full(16, 4.0)}  # of norm 20
    for clip, expected in ((1.0, 0.2), (0, 4.0)):
        optimizer = make_optimizer(ConfigDict(config.to_dict() | {"clip": clip}), 10, grads)
        _, state = optimizer.update(grads, optimizer.init(grads), grads)
        moment = next(s.mu for s in jax.tree.leaves(state, is_leaf=lambda s: hasattr(s, "mu")) if hasattr(s, "mu"))
        np.testing.assert_allclose(moment["a"], 0.1 * expected, rtol=1e-5)


@pytest.mark.parametrize("name", ["muon", "adamw"])
def test_optimizers_fit_a_matrix(name: str):
    config = ConfigDict(sizes.OPTIMIZER | {"name": name, "lr": 0.05, "weight_decay": 0.0})
    target = {"a.kernel": jax.random.normal(jax.random.key(0), (2, 3, 4)), "a.bias": jnp.ones(4), "head": jnp.ones((2, 2))}
    params = jax.tree.map(jnp.zeros_like, target)
    optimizer = make_optimizer(config, 200, params)

    def error(params):
        return sum(jnp.square(params[k] - target[k]).sum() for k in params)

    @jax.jit
    def step(params, state):
        updates, state = optimizer.update(jax.grad(error)(params), state, params)
        return optax.apply_updates(params, updates), state

    state, before = optimizer.init(params), float(error(params))
    for _ in range(200):
        params, state = step(params, state)
    assert float(error(params)) < 0.02 * before


def test_unknown_optimizer():
    with pytest.raises(InputError, match="found 'magic', expected muon, adamw or sgd"):
        make_optimizer(ConfigDict(sizes.OPTIMIZER | {"name": "magic"}), 1, {})
