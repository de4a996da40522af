"""The umT5 encoder's names in Wan's own checkpoints and ours. Parameter names as in the public Wan2.1 code."""

from __future__ import annotations

from stage_jax.weights.table import Entry, Table, linear

UMT5_TABLE: Table = (
    Entry("token_embedding.weight", "token_embedding"),
    Entry("blocks.{i}.norm1.weight", "blocks.{i}.norm_attention.scale"),
    *linear("blocks.{i}.attn.q", "blocks.{i}.query", bias=False),
    *linear("blocks.{i}.attn.k", "blocks.{i}.key", bias=False),
    *linear("blocks.{i}.attn.v", "blocks.{i}.value", bias=False),
    *linear("blocks.{i}.attn.o", "blocks.{i}.out", bias=False),
    Entry("blocks.{i}.pos_embedding.embedding.weight", "blocks.{i}.position_bias"),
    Entry("blocks.{i}.norm2.weight", "blocks.{i}.norm_ffn.scale"),
    *linear("blocks.{i}.ffn.gate.0", "blocks.{i}.gate", bias=False),
    *linear("blocks.{i}.ffn.fc1", "blocks.{i}.up", bias=False),
    *linear("blocks.{i}.ffn.fc2", "blocks.{i}.down", bias=False),
    Entry("norm.weight", "norm.scale"),
)
