"""Attention by device: the kernels of TPUs and GPUs against the whole softmax, and which of them a program takes."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.attention import attention_weights, weighted_values
from stage_jax.parallel import attention as module

SCALE = 0.09


def arrays(queries: int, keys: int, width: int, *groups: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [rng.standard_normal((2, *groups, 3, n, width), dtype=np.float32) for n in (queries, keys, keys)]


def value_and_gradients(attend, *qkv):
    def loss(*qkv):
        out = attend(*qkv)
        return jnp.sum(jnp.sin(out)), out

    with jax.default_matmul_precision("highest"):
        (_, out), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))(*qkv)
    return out, *gradients


def compare(attend, qkv: list[np.ndarray], mask: jax.Array | None) -> None:
    spread = None if mask is None else mask.reshape(2, *[1] * (qkv[0].ndim - 2), -1)
    expected = value_and_gradients(
        lambda q, k, v: weighted_values(attention_weights(q, k, scale=SCALE, key_mask=spread), v), *qkv
    )
    found = value_and_gradients(lambda q, k, v: attend(q, k, v, mask, scale=SCALE), *qkv)
    for a, b in zip(found, expected, strict=True):
        assert relative_error(a, b) <= 1e-5


def some_keys(keys: int) -> jax.Array:
    mask = np.random.default_rng(2).random((2, keys)) > 0.4
    assert len(set(mask.sum(axis=1))) == 2
    return jnp.asarray(mask)


@pytest.mark.parametrize(("keys", "masked"), [(300, True), (200, False)], ids=["some keys", "a short last block"])
def test_splash_as_the_whole_softmax(monkeypatch: pytest.MonkeyPatch, keys: int, masked: bool):
    """Several blocks, none of which the tokens fill."""
    monkeypatch.setattr(module, "BLOCK", 128)
    compare(
        functools.partial(module.splash_attention, interpret=True), arrays(150, keys, 128), some_keys(keys) if masked else None
    )


@pytest.mark.parametrize(("groups", "masked"), [((), True), ((4,), True), ((), False)])
def test_what_cudnn_is_given_is_the_whole_softmax(groups: tuple[int, ...], masked: bool):
    mask = some_keys(24) if masked else None
    compare(functools.partial(module.cudnn_attention, implementation="xla"), arrays(20, 24, 8, *groups), mask)


@pytest.mark.parametrize(
    ("device", "width", "dtype", "expected"),
    [
        ("tpu", 128, jnp.float32, module.splash_attention),
        ("tpu", 64, jnp.bfloat16, module._in_chunks),
        ("gpu", 64, jnp.bfloat16, module.cudnn_attention),
        ("gpu", 64, jnp.float32, module._in_chunks),
        ("gpu", 256, jnp.bfloat16, module._in_chunks),
        ("cpu", 128, jnp.bfloat16, module._in_chunks),
    ],
)
def test_the_kernel_of_a_device(monkeypatch: pytest.MonkeyPatch, device: str, width: int, dtype: jnp.dtype, expected):
    monkeypatch.setattr(module, "platform", lambda: device)
    assert module._kernel(jnp.zeros((1, 2, 4, width), dtype)) is expected


@pytest.mark.parametrize(("length", "block"), [(1, 128), (512, 512), (1024, 1024), (1025, 640), (4680, 1024), (32760, 1024)])
def test_blocks_are_few_and_short(length: int, block: int):
    assert module._block(length) == block
