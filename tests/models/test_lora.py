"""Low-rank adapters: a zero one changes nothing, merged equals unmerged, several are their sum; stacked and unrolled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.dit import DiTConfig
from stage_jax.models.dit_block import FeedForward
from stage_jax.models.lora import (
    A,
    B,
    LoRA,
    LoRAConfig,
    adapted,
    as_lora,
    init_lora,
    joined,
    linear_shapes,
    merged,
    scaled,
)
from stage_jax.models.sequence import TokenSequence
from stage_jax.models.stacking import flat_params, make_layers, run_layers, with_params
from tests.goldens import QUICK
from tests.models.dits import TINY, TINY_CLIP, abstract, random_model, random_sequence

EVERY = LoRAConfig(3, 6.0, r".*")


class Runner:
    """A form of a model, compiled once, that takes parameters."""

    def __init__(self, form: nnx.Module):
        self.form, graphdef = form, nnx.graphdef(form)
        self.call = jax.jit(lambda state, sequence: nnx.merge(graphdef, state)(sequence).outputs[0], compiler_options=QUICK)

    def __call__(self, params: Mapping[str, jax.Array], sequence: TokenSequence) -> np.ndarray:
        return np.asarray(self.call(nnx.state(with_params(self.form, params)), sequence))


def drawn(like: Mapping[str, jax.Array], seed: int) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(0.3 * rng.standard_normal(leaf.shape), jnp.float32) for name, leaf in like.items()}


def of_layers(lora: LoRA, start: str) -> LoRA:
    """The adapters whose paths begin so."""
    paths = [path for path in lora.alphas if path.startswith(start)]
    return LoRA({path + part: lora.factors[path + part] for path in paths for part in (A, B)}, dict.fromkeys(paths, 4.0))


UNROLLED = pytest.param(replace(TINY, scan_layers=False, layers=1), id="unrolled", marks=pytest.mark.slow)


@pytest.mark.parametrize("config", [pytest.param(TINY_CLIP, id="stacked"), UNROLLED])
def test_applied_in_every_linear(config: DiTConfig):
    """The factors of all linears, in their linears and in their kernels, give the same; at the start they give nothing."""
    model, sequence = random_model(config), random_sequence(config)
    params = flat_params(model)
    start = jax.jit(lambda key: init_lora(key, params, EVERY))(jax.random.key(0))
    assert len(linear_shapes(params)) == (2 * 12 + 8 if config is TINY_CLIP else 10 + 6) and start.keys() == {
        name.replace(".kernel", part) for name in params if name.endswith(".kernel") for part in (A, B)
        if not name.startswith("patch_embedding")
    }  # fmt: skip
    plain, with_lora = Runner(abstract(config)), Runner(adapted(abstract(config), start))
    expected = plain(params, sequence)
    np.testing.assert_array_equal(with_lora(params | scaled(start, EVERY.scale), sequence), expected)

    trained = scaled(drawn(start, 1), EVERY.scale)
    unmerged = with_lora(params | trained, sequence)
    assert relative_error(unmerged, expected) > 0.1
    assert relative_error(plain(merged(params, trained), sequence), unmerged) <= 1e-5
    np.testing.assert_array_equal(plain(params, sequence), expected)  # the way back, and where that is gone:
    assert relative_error(plain(merged(merged(params, trained), scaled(trained, -1.0)), sequence), expected) <= 1e-5

    # Of several: one of the first layer alone, one of all, each with a weight; ranks 1 + 2.
    one = {name: value[..., :1] if name.endswith(A) else value[..., :1, :] for name, value in drawn(start, 2).items()}
    two = {name: value[..., 1:] if name.endswith(A) else value[..., 1:, :] for name, value in drawn(start, 3).items()}
    loras = [
        (of_layers(as_lora(one, replace(EVERY, rank=1), params), "blocks.0."), 0.5),
        (as_lora(two, replace(EVERY, rank=2, rslora=True), params), -1.25),
    ]
    both = joined(loras, params)
    in_turn = params
    for each in loras:
        in_turn = merged(in_turn, joined([each], params))
    assert relative_error(with_lora(params | both, sequence), plain(in_turn, sequence)) <= 1e-5


class Stack(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.blocks = make_layers([FeedForward(4, 6, rngs) for _ in range(2)], scan=True)

    def __call__(self, x: jax.Array) -> jax.Array:
        return run_layers(self.blocks, x, lambda block, h: block(h))


def test_layers_without_an_adapter_are_not_trained():
    """In a stack where a pattern fits one layer: gradients move its factors, and leave the zeros of the other."""
    model, x = Stack(nnx.Rngs(0)), jnp.linspace(0.0, 1.0, 8).reshape(1, 1, 2, 4)
    params, config = flat_params(model), LoRAConfig(2, 2.0, r"blocks\.1\.up")
    start = init_lora(jax.random.key(0), params, config)
    assert {name: value.shape for name, value in start.items()} == {f"blocks.up{A}": (2, 4, 2), f"blocks.up{B}": (2, 2, 6)}
    form = adapted(nnx.eval_shape(lambda: Stack(nnx.Rngs(0))), start)
    gradients = jax.jit(jax.grad(lambda lora: jnp.sum(with_params(form, params | lora)(x) ** 2)))
    moved = {name: start[name] - 0.1 * step for name, step in gradients(start).items()}
    for name, step in gradients(moved).items():
        assert not np.any(np.asarray(step[0])) and np.all(np.asarray(step[1]))
        assert not np.any(np.asarray(moved[name][0]))
    assert as_lora(moved, config, params).alphas == {"blocks.1.up": 2.0}


def test_scales():
    """alpha / r, and alpha / sqrt(r): a factor of 11.3 at rank 128."""
    assert LoRAConfig(128, 128.0).scale == 1
    assert LoRAConfig(128, 128.0, rslora=True).scale == pytest.approx(128**0.5)
    factors = {f"x{A}": np.zeros((3, 16)), f"x{B}": np.zeros((16, 5))}
    assert LoRA(factors, {"x": 8.0}, rslora=True).scale("x") == 2
    assert LoRA(factors, {"x": None}, rslora=True).scale("x") == 1


@pytest.mark.parametrize(("pattern", "said"), [("self_attn.q", "fits no linear, expected "), ("(", "regular expr")])
def test_patterns_that_do_not_fit(pattern: str, said: str):
    with pytest.raises(InputError, match=said):
        init_lora(jax.random.key(0), flat_params(abstract(TINY)), LoRAConfig(2, 2.0, pattern))
