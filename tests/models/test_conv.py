"""The 2-D convolution with its own gradient against XLA's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.models.conv import conv2d

SHAPES = [  # picture, kernel, padding
    ((2, 6, 5, 3), (3, 3, 3, 4), None),
    ((2, 6, 5, 3), (1, 1, 3, 4), None),
    ((1, 7, 4, 2), (5, 5, 2, 1), None),
    ((3, 4, 6, 2), (2, 2, 2, 5), (1, 1)),  # an even kernel, as the doubling one
    ((2, 5, 5, 1), (3, 3, 1, 2), (0, 0)),
    ((2, 5, 5, 1), (3, 3, 1, 2), (2, 2)),
    ((2, 6, 8, 3), (3, 1, 3, 2), None),  # not square: XLA's own gradient
]


@pytest.fixture(autouse=True)
def highest_precision():
    with jax.default_matmul_precision("highest"):
        yield


def xla(x, kernel, stride=1, padding=None):
    pads = [(n // 2, n // 2) if padding is None else padding for n in kernel.shape[:2]]
    return jax.lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def drawn(*shapes: tuple[int, ...]) -> list[jax.Array]:
    rng = np.random.default_rng(5)
    return [jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
@pytest.mark.parametrize(("picture", "kernel", "padding"), SHAPES)
def test_values_and_gradients(picture, kernel, padding, jit: bool):
    x, k = drawn(picture, kernel)
    expected = xla(x, k, padding=padding)
    (dy,) = drawn(expected.shape)

    def value_and_pullback(f):
        return lambda x, k: (lambda y, back: (y, *back(dy)))(*jax.vjp(f, x, k))

    ours = value_and_pullback(lambda x, k: conv2d(x, k, padding=padding))
    plain = value_and_pullback(lambda x, k: xla(x, k, padding=padding))
    for found, wanted in zip((jax.jit(ours) if jit else ours)(x, k), plain(x, k), strict=True):
        np.testing.assert_allclose(found, wanted, atol=2e-5 * float(np.abs(wanted).max()))


def test_strided():
    x, k = drawn((2, 6, 8, 3), (3, 3, 3, 2))
    np.testing.assert_allclose(conv2d(x, k, stride=2, padding=(0, 1)), xla(x, k, 2, (0, 1)), atol=1e-5)
    found, wanted = (jax.grad(lambda k, f=f: jnp.sum(f(x, k, 2, (0, 1)) ** 2))(k) for f in (conv2d, xla))
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-3)


def test_bfloat16_gradients_keep_their_type():
    x, k = (a.astype(jnp.bfloat16) for a in drawn((2, 6, 5, 3), (3, 3, 3, 4)))
    found, wanted = (jax.grad(lambda x, k, f=f: f(x, k).astype(jnp.float32).sum(), (0, 1))(x, k) for f in (conv2d, xla))
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == b.dtype == jnp.bfloat16
        np.testing.assert_allclose(a.astype(jnp.float32), b.astype(jnp.float32), rtol=0.05, atol=0.5)


def test_under_vmap_and_remat():
    """Batched, and inside a checkpoint, the gradient rule holds as well."""
    x, k = drawn((3, 2, 6, 5, 3), (3, 3, 3, 4))

    def loss(f):
        return lambda k: jnp.square(jax.vmap(lambda x: jax.checkpoint(f)(x, k))(x)).sum()

    np.testing.assert_allclose(jax.grad(loss(conv2d))(k), jax.grad(loss(xla))(k), rtol=1e-4, atol=1e-2)
