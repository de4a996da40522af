"""The formula of a DiT's FLOPs, against figures of released models and against XLA's count of a small one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

from stage_jax.models import zoo
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.work import Work, dit_work
from stage_jax.recipes.wan import t2v_sequence


@pytest.mark.parametrize(
    ("model", "tokens", "petaflops"),
    [
        ("wan2.1-t2v-1.3b", 14_040, 0.073), ("wan2.1-t2v-1.3b", 32_760, 0.283), ("wan2.2-ti2v-5b", 27_280, 0.517),
        ("wan2.1-t2v-14b", 32_760, 1.678), ("wan2.1-t2v-14b", 75_600, 6.523),
    ],
)  # fmt: skip
def test_forward_passes_of_the_released_models(model: str, tokens: int, petaflops: float):
    """81 frames of 720x1280 at 14B: 6.523 PFLOP forward and 19.57 a training step, as MaxDiffusion counts."""
    assert dit_work(zoo.DITS[model], 1, tokens).flops / 3e15 == pytest.approx(petaflops, abs=6e-4)


def test_what_xla_counts_of_a_small_model():
    """Where products are nearly all there is; XLA also counts what stands between them."""
    config = DiTConfig(dim=128, ffn_dim=512, heads=2, layers=2, text_dim=64, text_len=32, freq_dim=16, scan_layers=False)
    model = nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))
    graphdef, state = nnx.split(model)

    def forward(state, latent, time, caption):
        return nnx.merge(graphdef, state)(t2v_sequence(latent, time, caption)).outputs[0]

    shapes = (jnp.zeros((2, 16, 3, 16, 16)), jnp.zeros(2), jnp.zeros((2, 32, 64)))
    counted = jax.jit(forward).lower(state, *shapes).cost_analysis()["flops"]
    work = dit_work(config, 2, 3 * 8 * 8)
    assert work.tokens == 2 * 192 and 1 < counted / (work.flops / 3) < 1.1
    assert work + work == Work(2 * work.tokens, 2 * work.flops)
