"""The DiT's names in Wan's own checkpoints, in diffusers' and here. One table for the whole family: the entries of the CLIP
branch are those of Wan2.1's image models. Names as in the public Wan2.1 and diffusers code.
"""

from __future__ import annotations

from dataclasses import replace

import jax
from flax import nnx

from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import LAYERS, flat_params, repeat_layers
from stage_jax.weights.table import Entry, Table, linear


def _attention(theirs: str, ours: str, diffusers: str) -> Table:
    """Projections and norms of one attention of a block."""
    theirs, ours, diffusers = (f"blocks.{{i}}.{name}" for name in (theirs, ours, diffusers))
    return (
        *linear(f"{theirs}.q", f"{ours}.query", diffusers=f"{diffusers}.to_q"),
        *linear(f"{theirs}.k", f"{ours}.key", diffusers=f"{diffusers}.to_k"),
        *linear(f"{theirs}.v", f"{ours}.value", diffusers=f"{diffusers}.to_v"),
        *linear(f"{theirs}.o", f"{ours}.out", diffusers=f"{diffusers}.to_out.0"),
        Entry(f"{theirs}.norm_q.weight", f"{ours}.norm_query.scale", diffusers=f"{diffusers}.norm_q.weight"),
        Entry(f"{theirs}.norm_k.weight", f"{ours}.norm_key.scale", diffusers=f"{diffusers}.norm_k.weight"),
    )


def _image_attention() -> Table:
    """What Wan2.1's image models add to the cross-attention."""
    theirs, ours, diffusers = "blocks.{i}.cross_attn", "blocks.{i}.cross_attention", "blocks.{i}.attn2"
    return (
        *linear(f"{theirs}.k_img", f"{ours}.key_image", diffusers=f"{diffusers}.add_k_proj"),
        *linear(f"{theirs}.v_img", f"{ours}.value_image", diffusers=f"{diffusers}.add_v_proj"),
        Entry(f"{theirs}.norm_k_img.weight", f"{ours}.norm_key_image.scale", diffusers=f"{diffusers}.norm_added_k.weight"),
    )


def _layer_norm(theirs: str, ours: str, diffusers: str) -> Table:
    return (
        Entry(f"{theirs}.weight", f"{ours}.scale", diffusers=f"{diffusers}.weight"),
        Entry(f"{theirs}.bias", f"{ours}.bias", diffusers=f"{diffusers}.bias"),
    )


_CONDITION = "condition_embedder"
_IMAGE = f"{_CONDITION}.image_embedder"

DIT_TABLE: Table = (
    # [dim, C, pt, ph, pw] -> [C, pt, ph, pw, dim]
    Entry("patch_embedding.weight", "patch_embedding.base.kernel", (1, 2, 3, 4, 0)),
    Entry("patch_embedding.bias", "patch_embedding.base.bias"),
    *linear("text_embedding.0", "text_embedding.0", diffusers=f"{_CONDITION}.text_embedder.linear_1"),
    *linear("text_embedding.2", "text_embedding.1", diffusers=f"{_CONDITION}.text_embedder.linear_2"),
    *linear("time_embedding.0", "time_embedding.0", diffusers=f"{_CONDITION}.time_embedder.linear_1"),
    *linear("time_embedding.2", "time_embedding.1", diffusers=f"{_CONDITION}.time_embedder.linear_2"),
    *linear("time_projection.1", "time_projection", diffusers=f"{_CONDITION}.time_proj"),
    *_layer_norm("img_emb.proj.0", "image_embedding.norm_in", f"{_IMAGE}.norm1"),
    *linear("img_emb.proj.1", "image_embedding.up", diffusers=f"{_IMAGE}.ff.net.0.proj"),
    *linear("img_emb.proj.3", "image_embedding.down", diffusers=f"{_IMAGE}.ff.net.2"),
    *_layer_norm("img_emb.proj.4", "image_embedding.norm_out", f"{_IMAGE}.norm2"),
    Entry("img_emb.emb_pos", "image_embedding.positions", diffusers=f"{_IMAGE}.pos_embed"),
    Entry("blocks.{i}.modulation", "blocks.{i}.modulation", diffusers="blocks.{i}.scale_shift_table"),
    *_attention("self_attn", "self_attention", "attn1"),
    *_attention("cross_attn", "cross_attention", "attn2"),
    *_image_attention(),
    # The affine norm before the cross-attention is the third one in the original and the second one in diffusers.
    *_layer_norm("blocks.{i}.norm3", "blocks.{i}.norm_cross", "blocks.{i}.norm2"),
    *linear("blocks.{i}.ffn.0", "blocks.{i}.ffn.up", diffusers="blocks.{i}.ffn.net.0.proj"),
    *linear("blocks.{i}.ffn.2", "blocks.{i}.ffn.down", diffusers="blocks.{i}.ffn.net.2"),
    Entry("head.modulation", "head.modulation", diffusers="scale_shift_table"),
    *linear("head.head", "head.projection", diffusers="proj_out"),
)


def dit_shapes(config: DiTConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Paths and shapes of a DiT's parameters, layers unstacked. Traces one layer: all of them alike."""
    one = replace(config, layers=1, scan_layers=False)
    return repeat_layers(flat_params(nnx.eval_shape(lambda: DiT(one, nnx.Rngs(0)))), {LAYERS: config.layers})
