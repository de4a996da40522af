"""How hard DPO is held to its reference, with and without the SFT term.

    stage sweep --config configs/tiny_step2_dpo.py --sweep configs/sweeps/dpo_beta.py --workdir runs/dpo_beta
"""

from typing import Any


def get_sweep() -> list[dict[str, Any]]:
    betas = [{"beta": beta} for beta in (200.0, 500.0, 1000.0, 2000.0, 5000.0)]
    return [*betas, {"beta": 200.0, "sft": 0.0}]
