"""The umT5 encoder's names in Wan's own checkpoints, in transformers' UMT5EncoderModel and here. Names as in the public Wan2.1
and transformers code.
"""

from __future__ import annotations

from dataclasses import replace

import jax
from flax import nnx

from stage_jax.models.stacking import LAYERS, flat_params, repeat_layers
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder
from stage_jax.weights.table import Entry, Table, linear, unread

SPIECE_ENTRY = "spiece_model"
_LAYER = "encoder.block.{i}.layer"
_ATTENTION, _FFN = f"{_LAYER}.0.SelfAttention", f"{_LAYER}.1.DenseReluDense"


def _linear(theirs: str, ours: str, transformers: str) -> Table:
    return linear(f"blocks.{{i}}.{theirs}", f"blocks.{{i}}.{ours}", bias=False, diffusers=transformers)


UMT5_TABLE: Table = (
    Entry("token_embedding.weight", "token_embedding", diffusers="shared.weight"),
    Entry("blocks.{i}.norm1.weight", "blocks.{i}.norm_attention.scale", diffusers=f"{_LAYER}.0.layer_norm.weight"),
    *_linear("attn.q", "query", f"{_ATTENTION}.q"),
    *_linear("attn.k", "key", f"{_ATTENTION}.k"),
    *_linear("attn.v", "value", f"{_ATTENTION}.v"),
    *_linear("attn.o", "out", f"{_ATTENTION}.o"),
    Entry("blocks.{i}.pos_embedding.embedding.weight", "blocks.{i}.position_bias",
          diffusers=f"{_ATTENTION}.relative_attention_bias.weight"),
    Entry("blocks.{i}.norm2.weight", "blocks.{i}.norm_ffn.scale", diffusers=f"{_LAYER}.1.layer_norm.weight"),
    *_linear("ffn.gate.0", "gate", f"{_FFN}.wi_0"),
    *_linear("ffn.fc1", "up", f"{_FFN}.wi_1"),
    *_linear("ffn.fc2", "down", f"{_FFN}.wo"),
    Entry("norm.weight", "norm.scale", diffusers="encoder.final_layer_norm.weight"),
    unread("encoder.embed_tokens.weight", only="diffusers"),  # tied with shared.weight
    unread(SPIECE_ENTRY),  # the tokenizer's file, which ComfyUI keeps among the weights
)  # fmt: skip


def umt5_shapes(config: UMT5Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Paths and shapes of an encoder's parameters, layers unstacked. Traces one layer: all of them alike."""
    one = replace(config, layers=1, scan_layers=False)
    return repeat_layers(flat_params(nnx.eval_shape(lambda: UMT5Encoder(one, nnx.Rngs(0)))), {LAYERS: config.layers})
