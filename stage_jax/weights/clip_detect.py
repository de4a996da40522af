"""Which CLIP a checkpoint holds, told by its entries and their shapes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.zoo import CLIPS
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.clip_table import clip_table
from stage_jax.weights.sizes import agree, count_layers, in_zoo, refuse_other, shapes_of, small
from stage_jax.weights.table import Naming, likely_naming

_TABLE = clip_table(CLIPS["xlm-roberta-large-vit-huge-14"])  # knows all names that a CLIP of any sizes has
_PATCH, _POSITIONS, _UP, _HEAD = "vision.patch_embedding", "vision.positions", "vision.blocks.0.up.kernel", "vision.head.kernel"
_TOKENS, _PLACES, _TEXT_UP = "text.token_embedding", "text.position_embedding", "text.blocks.0.up.kernel"
_LAYERS = {"original": "visual.transformer.", "diffusers": "vision_model.encoder.layers."}
_FORMS = {"hidden_act": ("gelu",)}  # quick_gelu is that of OpenAI's CLIP


def clip_of(checkpoint: Checkpoint) -> tuple[str | None, CLIPConfig]:
    """The name in the zoo, or None for other sizes, and the configuration; without text tower or projection where the
    checkpoint has none. Heads and eps are as config.json says, else as in a CLIP of the zoo that is as wide. InputError where
    sizes are missing or contradict config.json."""
    if "embeddings.class_embedding" in checkpoint.entries:  # transformers 5 leaves the prefix out
        checkpoint = replace(checkpoint, entries={f"vision_model.{name}": entry for name, entry in checkpoint.entries.items()})
    naming, _ = likely_naming(checkpoint.entries, _TABLE)
    axes = {_PATCH: 4, _POSITIONS: 3 if naming == "original" else 2, _UP: 2, _HEAD: 2}
    shapes = shapes_of(checkpoint, _TABLE, naming, axes, (_PATCH, _POSITIONS, _UP))
    dim, _, patch, _ = shapes[_PATCH]
    heads = checkpoint.config.get("num_attention_heads", heads_of_width(dim))
    if type(heads) is not int or heads < 1:
        raise InputError(f"{checkpoint.where}: the weights do not say how many heads CLIP has; a config.json beside does")
    try:
        config = CLIPConfig(
            dim=dim,
            ffn_dim=shapes[_UP][0],
            heads=heads,
            layers=count_layers(checkpoint.entries, _LAYERS[naming]),
            picture=patch * math.isqrt(shapes[_POSITIONS][-2] - 1),
            patch=patch,
            projection=_projection(shapes, naming),
            text=_text(checkpoint) if naming == "original" else None,
            eps=small(checkpoint.config.get("layer_norm_eps", CLIPConfig.eps)),
        )
    except ValueError as error:
        raise InputError(f"{checkpoint.where}: {error}") from None
    agree(checkpoint, clip_json(config))
    refuse_other(checkpoint, _FORMS)
    return in_zoo(config, CLIPS, ("dtype", "scan_layers"))


def clip_json(config: CLIPConfig) -> dict[str, object]:
    """What transformers' config.json of a vision tower says of its sizes."""
    return {
        "hidden_size": config.dim,
        "intermediate_size": config.ffn_dim,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "image_size": config.picture,
        "patch_size": config.patch,
        "layer_norm_eps": config.eps,
    }


def heads_of_width(dim: int) -> int | None:
    """Of a vision tower of the zoo."""
    return next((known.heads for known in CLIPS.values() if known.dim == dim), None)


def _projection(shapes: Mapping[str, tuple[int, ...]], naming: Naming) -> int | None:
    return shapes[_HEAD][1 if naming == "original" else 0] if _HEAD in shapes else None


def _text(checkpoint: Checkpoint) -> CLIPTextConfig | None:
    """The text tower, if there is any of it. ValueError where nothing tells its heads."""
    if not any(name.startswith("textual.") for name in checkpoint.entries):
        return None
    shapes: dict[str, Any] = shapes_of(checkpoint, _TABLE, "original", dict.fromkeys((_TOKENS, _PLACES, _TEXT_UP), 2))
    vocabulary, dim = shapes[_TOKENS]
    towers = [known.text for known in CLIPS.values() if known.text is not None]
    heads = next((known.heads for known in towers if known.dim == dim), None)
    if heads is None:
        raise ValueError(f"nothing says how many heads a text tower of {dim} channels has")
    return CLIPTextConfig(
        vocabulary=vocabulary,
        dim=dim,
        ffn_dim=shapes[_TEXT_UP][0],
        heads=heads,
        layers=count_layers(checkpoint.entries, "textual.blocks."),
        positions=shapes[_PLACES][0],
    )
