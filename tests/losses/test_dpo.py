"""DPO: its value where the models agree, its gradient by hand, and what swapping the two pairs does."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.losses.dpo import BETA, PairErrors, dpo_loss, dpo_metrics


def errors(seed: int) -> PairErrors:
    return PairErrors(*(1e-3 * jax.random.uniform(key, (5,)) for key in jax.random.split(jax.random.key(seed))))


def swapped(pair: PairErrors) -> PairErrors:
    return PairErrors(pair.rejected, pair.chosen)


@pytest.mark.parametrize("beta", [1.0, BETA, 5000.0])
def test_log_2_where_policy_and_reference_agree(beta: float):
    np.testing.assert_allclose(dpo_loss(errors(0), errors(0), beta), np.full(5, math.log(2)), rtol=1e-6)
    metrics = dpo_metrics(errors(0), errors(0), beta)
    assert not metrics["margin"].any() and not metrics["accuracy"].any()


def test_the_gradient_is_the_one_by_hand():
    """d/dx of -log sigmoid(z) is -(1 - sigmoid(z)) dz/dx, and dz/dx is -beta for the chosen error, beta for the rejected."""
    policy, reference, beta = errors(1), errors(2), 700.0
    found = jax.grad(lambda policy: dpo_loss(policy, reference, beta).sum())(policy)
    p, r = (jax.tree.map(lambda x: np.asarray(x, np.float64), e) for e in (policy, reference))
    z = beta * ((p.rejected - p.chosen) - (r.rejected - r.chosen))
    expected = beta / (1 + np.exp(z))
    np.testing.assert_allclose(found.chosen, expected, rtol=1e-4)
    np.testing.assert_allclose(found.rejected, -expected, rtol=1e-4)


def test_a_smaller_error_on_the_chosen_pair_lowers_it_and_swapping_flips_it():
    policy, reference = errors(3), errors(3)
    better = PairErrors(policy.chosen * 0.5, policy.rejected)
    loss, flipped = (np.asarray(dpo_loss(side(better), side(reference))) for side in (lambda e: e, swapped))
    assert (loss < math.log(2)).all() and (flipped > math.log(2)).all()
    np.testing.assert_allclose(np.exp(-loss) + np.exp(-flipped), 1, rtol=1e-5)  # sigmoid(z) + sigmoid(-z)
    metrics = [dpo_metrics(side(better), side(reference)) for side in (lambda e: e, swapped)]
    assert metrics[0]["accuracy"].all() and not metrics[1]["accuracy"].any()
    np.testing.assert_allclose(metrics[0]["margin"], -metrics[1]["margin"])
    np.testing.assert_allclose(metrics[0]["reward_chosen"], BETA * 0.5 * policy.chosen, rtol=1e-4)
    np.testing.assert_array_equal(metrics[0]["reward_rejected"], np.zeros(5))


def test_far_apart_stays_finite():
    far = PairErrors(jnp.array([9.0, 0.0]), jnp.array([0.0, 9.0]))
    none = jax.tree.map(jnp.zeros_like, far)
    assert np.isfinite(dpo_loss(far, none)).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(jax.grad(lambda p: dpo_loss(p, none).sum())(far)))
