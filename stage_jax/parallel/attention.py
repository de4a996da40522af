"""Exact attention of long sequences by the kernel of the device that the program is made for: splash on TPUs, cuDNN's flash
attention on NVIDIA's GPUs, chunks in plain XLA on CPUs and wherever the kernel does not take the shape or the type.

On a mesh each device attends with its own examples and heads. What the kernels keep for the backward pass bears the name
`RESIDUALS`, so that a rematerialising caller can save it and no forward kernel runs twice.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float

from stage_jax.errors import InputError
from stage_jax.parallel.chunked_attention import RESIDUALS, chunked_attention
from stage_jax.parallel.mesh import current_mesh, platform
from stage_jax.parallel.rules import MESH_AXES

LANES = 128  # of a TPU's vector unit: heads and blocks come in multiples of it
BLOCK = 1024  # queries and keys that splash holds at a time at most; not tuned yet
CUDNN_WIDTH = 128  # channels of a head that every cuDNN takes

Attend = Callable[[Array, Array, Array, Array | None], Array]


def kernel_attention(
    query: Float[Array, "b *g h q d"],
    key: Float[Array, "b *g h k d"],
    value: Float[Array, "b *g h k d"],
    *,
    scale: float,
    key_mask: Bool[Array, "b_or_1 *one 1 k"] | None = None,
) -> Float[Array, "b *g h q d"]:
    """Attention of queries to the keys that are there (key_mask: True), in the type of `value`; the heads stand before the
    tokens. Every example needs a key that is there. InputError if the mesh does not divide batch or heads."""
    if key_mask is not None:
        key_mask = jnp.broadcast_to(key_mask.reshape(key_mask.shape[0], -1), (query.shape[0], key.shape[-2]))
    return _on_mesh(functools.partial(_kernel(query), scale=scale), query, key, value, key_mask)


def _kernel(query: Float[Array, "b *g h q d"]) -> Callable[..., Array]:
    width, device = query.shape[-1], platform()
    if device == "tpu" and width % LANES == 0:
        return splash_attention
    if device == "gpu" and query.dtype in (jnp.bfloat16, jnp.float16) and width % 8 == 0 and width <= CUDNN_WIDTH:
        return cudnn_attention
    return _in_chunks


def _in_chunks(query, key, value, key_mask, *, scale):
    if key_mask is not None:
        key_mask = key_mask.reshape(key_mask.shape[0], *[1] * (query.ndim - 2), key_mask.shape[1])
    return chunked_attention(query, key, value, scale=scale, key_mask=key_mask)


def splash_attention(
    query: Float[Array, "b *g h q d"],
    key: Float[Array, "b *g h k d"],
    value: Float[Array, "b *g h k d"],
    key_mask: Bool[Array, "b k"] | None,
    *,
    scale: float,
    interpret: bool = False,
) -> Float[Array, "b *g h q d"]:
    """Splash attention (jax.experimental.pallas). Sequences are filled up to whole blocks; keys that are not there, those
    among them, are of another segment than all queries. interpret: without a TPU, slowly."""
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash  # slow to import
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as splash_mask

    *lead, queries, width = query.shape
    keys = key.shape[-2]
    block_q, block_k = _block(queries), _block(keys)
    if key_mask is None and keys % block_k:
        key_mask = jnp.ones((query.shape[0], keys), bool)
    scaled = (query.astype(jnp.float32) * scale).astype(query.dtype)
    q, k, v = (
        _filled(x.reshape(x.shape[0], -1, *x.shape[-2:]), block, axis=2)
        for x, block in ((scaled, block_q), (key, block_k), (value, block_k))
    )
    segments = None
    if key_mask is not None:
        ids = _filled(key_mask, block_k, axis=1).astype(jnp.int32)
        segments = splash.SegmentIds(jnp.ones((ids.shape[0], q.shape[2]), jnp.int32), ids)
    sizes = splash.BlockSizes(
        block_q=block_q, block_kv=block_k, block_q_dkv=block_q, block_kv_dkv=block_k, use_fused_bwd_kernel=True
    )
    mask = splash_mask.MultiHeadMask([splash_mask.FullMask((q.shape[2], k.shape[2]))] * q.shape[1])
    kernel = splash.make_splash_mha_single_device(
        mask, block_sizes=sizes, residual_checkpoint_name=RESIDUALS, interpret=interpret
    )
    return jax.vmap(kernel)(q, k, v, segments)[:, :, :queries].reshape(*lead, queries, width)


def cudnn_attention(
    query: Float[Array, "b *g h q d"],
    key: Float[Array, "b *g h k d"],
    value: Float[Array, "b *g h k d"],
    key_mask: Bool[Array, "b k"] | None,
    *,
    scale: float,
    implementation: str = "cudnn",
) -> Float[Array, "b *g h q d"]:
    """cuDNN's flash attention, which takes the number of keys but no mask: keys that are there are put first, since their
    order does not matter. implementation: "xla" to try the rest without a GPU."""
    lengths = None
    if key_mask is not None:
        order = jnp.argsort(~key_mask, axis=-1, stable=True).reshape(key_mask.shape[0], *[1] * (key.ndim - 3), -1, 1)
        key, value = (jnp.take_along_axis(x, order, axis=-2) for x in (key, value))
        lengths = jnp.repeat(key_mask.sum(axis=-1, dtype=jnp.int32), math.prod(query.shape[1:-3]))
    # [B, n, H, d]; further axes between batch and heads count as batch
    q, k, v = (x.reshape(-1, *x.shape[-3:]).swapaxes(1, 2) for x in (query, key, value))
    out = jax.nn.dot_product_attention(q, k, v, scale=scale, key_value_seq_lengths=lengths, implementation=implementation)
    return out.swapaxes(1, 2).reshape(query.shape)


def _on_mesh(attend: Attend, query: Array, key: Array, value: Array, key_mask: Array | None) -> Array:
    mesh = current_mesh()
    if mesh.empty or mesh.size == 1:
        return attend(query, key, value, key_mask)
    batch, head = (MESH_AXES[name] for name in ("batch", "head"))
    for axes, side, what in ((batch, query.shape[0], "examples"), (head, query.shape[-3], "heads")):
        if side % math.prod(mesh.shape[axis] for axis in axes):
            found = " x ".join(f"{axis} {mesh.shape[axis]}" for axis in axes)
            raise InputError(f"config.mesh: found {found}, expected what divides the {side} {what}")
    spec = P(batch, *[None] * (query.ndim - 4), head)
    masks = () if key_mask is None else (key_mask,)

    def own(query, key, value, *masks):
        return attend(query, key, value, *(masks or (None,)))

    specs = (spec, spec, spec, *[P(batch) for _ in masks])
    return jax.shard_map(own, in_specs=specs, out_specs=spec, check_vma=False)(query, key, value, *masks)


def _block(length: int) -> int:
    """As few blocks of at most `BLOCK` as hold a sequence, and those as short as they can be."""
    blocks = -(-length // BLOCK)
    return -(-length // (blocks * LANES)) * LANES


def _filled(x: Array, block: int, axis: int) -> Array:
    """Zeros (False) behind the tokens, up to a whole number of blocks."""
    widths = [(0, 0)] * x.ndim
    widths[axis] = (0, -x.shape[axis] % block)
    return jnp.pad(x, widths)
