"""Which way attention takes: whole for short sequences, in chunks for long ones, the same numbers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.evaluation.goldens import TOLERANCE, relative_error
from stage_jax.models import attention as module
from stage_jax.parallel import attention as kernels
from stage_jax.parallel.chunked_attention import chunked_attention
from tests.goldens import load_golden
from tests.models.dits import golden_sequence, loaded, run


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Query shapes of all calls of the kernel, which runs in small chunks."""
    calls: list[tuple[int, ...]] = []

    def counted(query, key, value, **settings):
        calls.append(query.shape)
        return chunked_attention(query, key, value, chunk=16, **settings)

    monkeypatch.setattr(kernels, "chunked_attention", counted)
    return calls


def test_long_sequences_take_the_kernel(kernel_calls: list):
    rng = np.random.default_rng(0)
    query, key, value = (jnp.asarray(rng.standard_normal((2, 3, 20, 4), dtype=np.float32)) for _ in range(3))
    mask = jnp.asarray(rng.random((2, 1, 1, 20)) > 0.3)
    whole = module.attention(query, key, value, scale=0.5, key_mask=mask)
    assert kernel_calls == []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "WHOLE", 399)
        found = module.attention(query, key, value, scale=0.5, key_mask=mask)
    assert kernel_calls == [(2, 3, 20, 4)]
    assert relative_error(found, np.asarray(whole)) <= 2e-6


@pytest.mark.parametrize("name", ["dit_t2v", "dit_flf2v"])
def test_golden_through_the_kernel(name: str, kernel_calls: list, monkeypatch: pytest.MonkeyPatch):
    """Self-attention, cross-attention and the image branch of the DiT, all through the kernel."""
    golden = load_golden(name)
    monkeypatch.setattr(module, "WHOLE", 0)
    with jax.default_matmul_precision("highest"):
        output = run(loaded(golden, scan=False), golden_sequence(golden), options={})
    assert relative_error(output.outputs[0], golden.io["out"]) <= TOLERANCE
    assert len(kernel_calls) == golden.model["num_layers"] * (3 if name == "dit_flf2v" else 2)
