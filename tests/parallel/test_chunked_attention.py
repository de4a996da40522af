"""Attention in chunks against the whole softmax, values and gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.attention import attention_weights, weighted_values
from stage_jax.parallel.chunked_attention import chunked_attention

SCALE = 0.3


def arrays(queries: int, keys: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((2, 3, n, 8), dtype=np.float32) for n in (queries, keys, keys)]


def whole(query, key, value, mask):
    return weighted_values(attention_weights(query, key, scale=SCALE, key_mask=mask), value)


def value_and_gradients(attend, *qkv):
    def loss(*qkv):
        out = attend(*qkv)
        return jnp.sum(jnp.sin(out)), out

    (_, out), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*qkv)
    return out, *gradients


@pytest.mark.parametrize("masked", [False, True], ids=["all keys", "some keys"])
@pytest.mark.parametrize(("queries", "keys"), [(24, 24), (29, 13), (5, 40)], ids=["even", "a short last chunk", "one chunk"])
def test_as_the_whole_softmax(queries: int, keys: int, masked: bool):
    mask = jnp.asarray(np.random.default_rng(2).random((2, 1, 1, keys)) > 0.4) if masked else None
    qkv = arrays(queries, keys)
    with jax.default_matmul_precision("highest"):
        expected = value_and_gradients(lambda q, k, v: whole(q, k, v, mask), *qkv)
        attend = jax.jit(lambda q, k, v: chunked_attention(q, k, v, scale=SCALE, key_mask=mask, chunk=8))
        found = value_and_gradients(attend, *qkv)
        alone = attend(*qkv)  # in larger chunks, since nothing is differentiated
    for a, b in zip((*found, alone), (*expected, expected[0]), strict=True):
        assert relative_error(a, b) <= 2e-6


def test_keys_that_are_not_there_leave_no_trace():
    """Not in the output, not in a gradient."""
    query, key, value = arrays(20, 12)
    mask = np.ones((1, 1, 1, 12), bool)
    mask[..., 9:] = False

    def attend(q, k, v):
        return chunked_attention(q, k, v, scale=SCALE, key_mask=jnp.asarray(mask), chunk=8)

    found = value_and_gradients(attend, query, key, value)
    other = value_and_gradients(attend, query, *(np.where(mask[0].swapaxes(-1, -2), x, 5.0) for x in (key, value)))
    np.testing.assert_array_equal(found[0], other[0])
    assert not np.asarray(found[2])[:, :, 9:].any() and not np.asarray(found[3])[:, :, 9:].any()


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_a_row_without_keys(dtype: jnp.dtype):
    """Uniform and finite, as the whole softmax has it, gradients too, in either type."""
    qkv = [jnp.asarray(x, dtype) for x in arrays(20, 12)]
    mask = jnp.asarray(np.random.default_rng(2).random((2, 1, 1, 12)) > 0.4).at[1].set(False)
    expected = value_and_gradients(lambda q, k, v: whole(q, k, v, mask), *qkv)
    found = value_and_gradients(lambda q, k, v: chunked_attention(q, k, v, scale=SCALE, key_mask=mask, chunk=8), *qkv)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == dtype
        assert relative_error(*(np.asarray(x, np.float32) for x in (a, b))) <= (2e-6 if dtype == jnp.float32 else 2e-2)
    uniform = jnp.broadcast_to(qkv[2][1].astype(jnp.float32).mean(axis=1, keepdims=True), found[0][1].shape)
    np.testing.assert_allclose(np.asarray(found[0][1], np.float32), uniform, atol=2e-2)
