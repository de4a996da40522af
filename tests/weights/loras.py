"""LoRAs of the tiny Wan DiT, as several tests need them."""

from __future__ import annotations

import numpy as np

from stage_jax.models.dit import DiTConfig
from stage_jax.models.lora import USUAL, A, B, LoRA, targets
from stage_jax.weights.kinds import KINDS

PLACES = rf"{USUAL}|time_projection"


def random_lora(config: DiTConfig, seed: int = 0, *, rank: int = 3, alpha: float | None = 6.0, rslora: bool = False) -> LoRA:
    """Of `PLACES`; no factor is zero, and the first linear has a rank and an alpha of its own."""
    rng = np.random.default_rng(seed)
    factors, alphas = {}, {}
    for number, (path, (inputs, outputs)) in enumerate(targets(KINDS["dit"].shapes(config), PLACES).items()):
        own = rank + 1 if number == 0 else rank
        factors[path + A] = 0.3 * rng.standard_normal((inputs, own), dtype=np.float32)
        factors[path + B] = 0.3 * rng.standard_normal((own, outputs), dtype=np.float32)
        alphas[path] = 2 * alpha if alpha is not None and number == 0 else alpha
    return LoRA(factors, alphas, rslora)


def assert_same(found: LoRA, expected: LoRA) -> None:
    """The same factors, bit for bit, and the same scales."""
    assert found.alphas.keys() == expected.alphas.keys()
    for path in expected.alphas:
        for part in (A, B):
            assert found.factors[path + part].dtype == expected.factors[path + part].dtype
            np.testing.assert_array_equal(found.factors[path + part], expected.factors[path + part])
        np.testing.assert_allclose(found.scale(path), expected.scale(path), rtol=1e-7)
