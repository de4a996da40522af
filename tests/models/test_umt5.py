"""The umT5 encoder against the reference implementation."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.golden_configs import umt5_config
from stage_jax.evaluation.goldens import TOLERANCE, Golden, relative_error
from stage_jax.models.stacking import flat_params, stack_params, with_params
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, relative_buckets, zero_padding
from stage_jax.weights.table import from_torch, to_torch
from stage_jax.weights.umt5_table import UMT5_TABLE
from tests.goldens import drawn, load_golden


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_golden("umt5")


def encoder(golden: Golden, scan: bool) -> UMT5Encoder:
    def abstract(scan: bool) -> UMT5Encoder:
        config = replace(umt5_config(golden), scan_layers=scan)
        return nnx.eval_shape(lambda: UMT5Encoder(config, nnx.Rngs(0)))

    params = from_torch(golden.weights, UMT5_TABLE, flat_params(abstract(False)))
    back = to_torch(params, UMT5_TABLE)
    assert back.keys() == golden.weights.keys()
    assert all((back[key] == golden.weights[key]).all() for key in back)
    return with_params(abstract(scan), stack_params(params) if scan else params)


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scan"])
@pytest.mark.smoke
def test_golden(golden: Golden, scan: bool):
    graphdef, state = nnx.split(encoder(golden, scan))
    ids, mask, expected = (golden.io[name] for name in ("ids", "mask", "out"))
    found = jax.jit(lambda state, ids, mask: nnx.merge(graphdef, state)(ids, mask))(state, ids, mask)
    assert (mask == 0).any()
    assert relative_error(found[mask == 1], expected[mask == 1]) <= TOLERANCE


def test_padding_is_not_read(golden: Golden):
    graphdef, state = nnx.split(encoder(golden, scan=True))
    encode = jax.jit(lambda ids, mask: nnx.merge(graphdef, state)(ids, mask))
    ids, mask = golden.io["ids"], golden.io["mask"]
    other = np.where(mask == 1, ids, 99)
    a, b = (zero_padding(encode(i, mask), mask) for i in (ids, other))
    np.testing.assert_array_equal(a, b)
    assert not a[mask == 0].any()


def test_gradients_are_finite():
    config = UMT5Config(vocabulary=11, dim=12, attention_dim=12, ffn_dim=16, heads=2, layers=2)
    graphdef, state = nnx.split(drawn(nnx.eval_shape(lambda: UMT5Encoder(config, nnx.Rngs(0)))))
    ids, mask = np.array([[3, 4, 1, 0], [0, 0, 0, 0]]), np.array([[1, 1, 1, 0], [0, 0, 0, 0]])

    @jax.jit
    def gradients(state: nnx.State) -> nnx.State:
        return jax.grad(lambda s: jnp.square(zero_padding(nnx.merge(graphdef, s)(ids, mask), mask)).sum())(state)

    grads = gradients(state)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(grads))
    assert all(leaf.any() for leaf in jax.tree.leaves(grads))


def test_buckets():
    """Offsets 0..7 have a bucket each, then they widen up to the last one; keys after the query use the other half."""
    row = relative_buckets(200, 32, 128)[0]
    np.testing.assert_array_equal(row[:9], [0, 17, 18, 19, 20, 21, 22, 23, 24])
    assert row[-1] == 31 and (np.diff(row[1:]) >= 0).all()
    column = relative_buckets(200, 32, 128)[:, 0]
    np.testing.assert_array_equal(column[1:], row[1:] - 16)
