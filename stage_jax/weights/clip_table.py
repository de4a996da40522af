"""CLIP's names in Wan's own checkpoints (`models_clip_*.pth`), in transformers' `CLIPVisionModel` and
`CLIPVisionModelWithProjection`, and here. Parameter names as in the public code of both.

The text tower and the scale have original names only: transformers' CLIP has another text tower.
"""

from __future__ import annotations

from dataclasses import replace

import jax
from flax import nnx

from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.stacking import flat_params, repeat_layers
from stage_jax.weights.table import LINEAR, Entry, Table, linear, unread

_THEIRS, _OURS, _TRANSFORMERS = "visual.transformer.{i}", "vision.blocks.{i}", "vision_model.encoder.layers.{i}"
_EMBEDDINGS = "vision_model.embeddings"


def clip_table(config: CLIPConfig) -> Table:
    """Table of `weights.table` for a CLIP of any sizes. What the configuration leaves out (the text tower with the scale, the
    projection) is not read where a checkpoint has it; no other entry is passed over but transformers' ``position_ids``."""
    text = _TEXT if config.text is not None else _unread(_TEXT)
    return (*_VISION, *_without_prefix(_VISION), *(_HEAD if config.projection is not None else _unread(_HEAD)), *text)


def clip_shapes(config: CLIPConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Paths and shapes of a CLIP's parameters, layers unstacked. Traces one layer of each tower: all of them alike."""
    text = None if config.text is None else replace(config.text, layers=1, scan_layers=False)
    one = replace(config, layers=1, scan_layers=False, text=text)
    layers = {"vision.blocks": config.layers} | ({} if config.text is None else {"text.blocks": config.text.layers})
    return repeat_layers(flat_params(nnx.eval_shape(lambda: CLIP(one, nnx.Rngs(0)))), layers)


def _unread(table: Table) -> Table:
    return tuple(replace(entry, ours=None) for entry in table)


def _without_prefix(table: Table) -> Table:
    """The names of a `CLIPVisionModel` that transformers 5 has written: it reads both, and older ones read the prefix only."""
    entries = (
        replace(entry, torch=entry.name("diffusers"), diffusers=None, only="diffusers")
        for entry in table
        if entry.only != "original"
    )
    return tuple(replace(entry, torch=entry.torch.removeprefix("vision_model."), alias=True) for entry in entries)


def _layer_norm(theirs: str, ours: str, transformers: str | None = None) -> Table:
    there = transformers or theirs
    return (
        Entry(f"{theirs}.weight", f"{ours}.scale", diffusers=f"{there}.weight"),
        Entry(f"{theirs}.bias", f"{ours}.bias", diffusers=f"{there}.bias"),
    )


def _query_key_value() -> Table:
    """One array there, [q; k; v] on its first axis; three in transformers."""
    entries: list[Entry] = []
    for i, (ours, transformers) in enumerate((("query", "q_proj"), ("key", "k_proj"), ("value", "v_proj"))):
        path = f"{_OURS}.{ours}"
        fused, single = linear(f"{_THEIRS}.attn.to_qkv", path), linear(f"{_TRANSFORMERS}.self_attn.{transformers}", path)
        entries += [replace(entry, only="original", piece=(i, 3)) for entry in fused]
        entries += [replace(entry, only="diffusers") for entry in single]
    return tuple(entries)


_VISION: Table = (
    # [dim, 3, y, x] -> [y, x, 3, dim]
    Entry("visual.patch_embedding.weight", "vision.patch_embedding", (2, 3, 1, 0),
          diffusers=f"{_EMBEDDINGS}.patch_embedding.weight"),
    Entry("visual.cls_embedding", "vision.class_token", leading_ones=2, only="original"),
    Entry(f"{_EMBEDDINGS}.class_embedding", "vision.class_token", only="diffusers"),
    Entry("visual.pos_embedding", "vision.positions", leading_ones=1, only="original"),
    Entry(f"{_EMBEDDINGS}.position_embedding.weight", "vision.positions", only="diffusers"),
    unread(f"{_EMBEDDINGS}.position_ids", only="diffusers"),  # a range, in files of older releases
    *_layer_norm("visual.pre_norm", "vision.norm_in", "vision_model.pre_layrnorm"),  # sic
    *_layer_norm(f"{_THEIRS}.norm1", f"{_OURS}.norm_attention", f"{_TRANSFORMERS}.layer_norm1"),
    *_query_key_value(),
    *linear(f"{_THEIRS}.attn.proj", f"{_OURS}.out", diffusers=f"{_TRANSFORMERS}.self_attn.out_proj"),
    *_layer_norm(f"{_THEIRS}.norm2", f"{_OURS}.norm_ffn", f"{_TRANSFORMERS}.layer_norm2"),
    *linear(f"{_THEIRS}.mlp.0", f"{_OURS}.up", diffusers=f"{_TRANSFORMERS}.mlp.fc1"),
    *linear(f"{_THEIRS}.mlp.2", f"{_OURS}.down", diffusers=f"{_TRANSFORMERS}.mlp.fc2"),
    *_layer_norm("visual.post_norm", "vision.norm_out", "vision_model.post_layernorm"),
)  # fmt: skip
_HEAD: Table = (
    Entry("visual.head", "vision.head.kernel", only="original"),  # x @ head, unlike a Linear
    Entry("visual_projection.weight", "vision.head.kernel", LINEAR, only="diffusers"),
)
_TEXT: Table = tuple(
    replace(entry, only="original")
    for entry in (
        Entry("textual.token_embedding.weight", "text.token_embedding"),
        Entry("textual.type_embedding.weight", "text.type_embedding"),
        Entry("textual.pos_embedding.weight", "text.position_embedding"),
        *_layer_norm("textual.norm", "text.norm"),
        *linear("textual.blocks.{i}.attn.q", "text.blocks.{i}.query"),
        *linear("textual.blocks.{i}.attn.k", "text.blocks.{i}.key"),
        *linear("textual.blocks.{i}.attn.v", "text.blocks.{i}.value"),
        *linear("textual.blocks.{i}.attn.o", "text.blocks.{i}.out"),
        *_layer_norm("textual.blocks.{i}.norm1", "text.blocks.{i}.norm_attention"),
        *linear("textual.blocks.{i}.ffn.0", "text.blocks.{i}.up"),
        *linear("textual.blocks.{i}.ffn.2", "text.blocks.{i}.down"),
        *_layer_norm("textual.blocks.{i}.norm2", "text.blocks.{i}.norm_ffn"),
        *linear("textual.head.0", "text.head.0", bias=False),
        *linear("textual.head.2", "text.head.1", bias=False),
        Entry("log_scale", "log_scale"),
    )
)
