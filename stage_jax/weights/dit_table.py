"""The DiT's names in Wan's own checkpoints (text to video) and ours. Parameter names as in the public Wan2.1 code."""

from __future__ import annotations

from stage_jax.weights.table import Entry, Table, linear

_ATTENTION = tuple(
    entry
    for theirs, ours in (("self_attn", "self_attention"), ("cross_attn", "cross_attention"))
    for part in (
        *(
            linear(f"blocks.{{i}}.{theirs}.{a}", f"blocks.{{i}}.{ours}.{b}")
            for a, b in (("q", "query"), ("k", "key"), ("v", "value"), ("o", "out"))
        ),
        (
            Entry(f"blocks.{{i}}.{theirs}.norm_q.weight", f"blocks.{{i}}.{ours}.norm_query.scale"),
            Entry(f"blocks.{{i}}.{theirs}.norm_k.weight", f"blocks.{{i}}.{ours}.norm_key.scale"),
        ),
    )
    for entry in part
)

DIT_TABLE: Table = (
    # [dim, C, pt, ph, pw] -> [C, pt, ph, pw, dim]
    Entry("patch_embedding.weight", "patch_embedding.base.kernel", (1, 2, 3, 4, 0)),
    Entry("patch_embedding.bias", "patch_embedding.base.bias"),
    *linear("text_embedding.0", "text_embedding.0"),
    *linear("text_embedding.2", "text_embedding.1"),
    *linear("time_embedding.0", "time_embedding.0"),
    *linear("time_embedding.2", "time_embedding.1"),
    *linear("time_projection.1", "time_projection"),
    Entry("blocks.{i}.modulation", "blocks.{i}.modulation"),
    *_ATTENTION,
    Entry("blocks.{i}.norm3.weight", "blocks.{i}.norm_cross.scale"),
    Entry("blocks.{i}.norm3.bias", "blocks.{i}.norm_cross.bias"),
    *linear("blocks.{i}.ffn.0", "blocks.{i}.ffn.up"),
    *linear("blocks.{i}.ffn.2", "blocks.{i}.ffn.down"),
    Entry("head.modulation", "head.modulation"),
    *linear("head.head", "head.projection"),
)
