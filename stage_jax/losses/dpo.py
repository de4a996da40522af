"""Direct preference optimisation of a flow model (STAGE, equation 5; Diffusion-DPO, arXiv 2311.12908).

Of two pairs of frames for one shot one is chosen and one rejected. What counts is by how much the policy's velocity error on
the rejected one exceeds that on the chosen one, beside the reference's; both are noised by the same noise to the same level.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
from jaxtyping import Array, Float

from stage_jax.models.sequence import AnyArray, pytree

BETA = 2000.0
"""For errors that are means over all elements. STAGE does not name its own; Diffusion-DPO trains with 2000 to 5000, of which
its code takes half (so 1000 to 2500 here). A sum over n elements in place of the mean wants beta / n."""


@pytree(data=("chosen", "rejected"))
@dataclass(frozen=True)
class PairErrors:
    """Mean squared velocity errors of one model (`flow_matching.velocity_error`)."""

    chosen: Float[AnyArray, " b"]
    rejected: Float[AnyArray, " b"]

    @property
    def gap(self) -> Float[AnyArray, " b"]:
        """D in the paper: how much better the chosen pair is predicted."""
        return self.rejected - self.chosen


def dpo_loss(policy: PairErrors, reference: PairErrors, beta: float = BETA) -> Float[Array, " b"]:
    """-log sigmoid(beta * (D_policy - D_reference)): log 2 where they agree. beta is constant over the noise levels."""
    return -jax.nn.log_sigmoid(beta * (policy.gap - reference.gap))


def dpo_metrics(policy: PairErrors, reference: PairErrors, beta: float = BETA) -> dict[str, Float[Array, " b"]]:
    """One value per example.

    reward_chosen, reward_rejected: implicit rewards, beta times what the policy's error is below the reference's. margin: their
    difference. accuracy: 1 where that is above 0. pair_accuracy: 1 where the policy alone predicts the chosen pair better.
    error_chosen, error_rejected: the policy's; both rising is likelihood displacement.
    """
    rewards = jax.tree.map(lambda error, before: beta * (before - error), policy, reference)
    margin = rewards.chosen - rewards.rejected
    return {
        "reward_chosen": rewards.chosen,
        "reward_rejected": rewards.rejected,
        "margin": margin,
        "accuracy": (margin > 0).astype(margin.dtype),
        "pair_accuracy": (policy.gap > 0).astype(margin.dtype),
        "error_chosen": policy.chosen,
        "error_rejected": policy.rejected,
    }
