"""Learning rates and seeds of a tiny model.

    stage sweep --config configs/tiny_filler.py --sweep configs/sweeps/tiny_lr.py --workdir runs/tiny_lr
"""

from typing import Any

from stage_jax.training.sweep import product, values


def get_sweep() -> list[dict[str, Any]]:
    return product(values("optimizer.lr", [1e-3, 3e-3, 1e-2]), values("seed", [0, 1]))
