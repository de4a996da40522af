"""Which umT5 encoder a checkpoint holds, told by its entries and their shapes."""

from __future__ import annotations

from stage_jax.errors import InputError
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.zoo import TEXT_ENCODERS
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.sizes import agree, count_layers, in_zoo, refuse_other, shapes_of, small, whole
from stage_jax.weights.table import likely_naming
from stage_jax.weights.umt5_table import UMT5_TABLE

_TOKENS, _QUERY, _UP, _BIAS = "token_embedding", "blocks.0.query.kernel", "blocks.0.up.kernel", "blocks.0.position_bias"
_LAYERS = {"original": "blocks.", "diffusers": "encoder.block."}
# What transformers' config.json says of the only kind of feed-forward that the encoder has.
_FORMS = {"model_type": ("umt5",), "feed_forward_proj": ("gated-gelu",), "dense_act_fn": ("gelu_new",)}


def umt5_of(checkpoint: Checkpoint) -> tuple[str | None, UMT5Config]:
    """The name in the zoo, or None for other sizes, and the configuration. Shapes tell all but the largest distance and eps:
    those are as config.json says, else as in umT5-XXL. InputError where sizes are missing or contradict config.json."""
    naming, _ = likely_naming(checkpoint.entries, UMT5_TABLE)
    shapes, said = shapes_of(checkpoint, UMT5_TABLE, naming, dict.fromkeys((_TOKENS, _QUERY, _UP, _BIAS), 2)), checkpoint.config
    buckets, heads = shapes[_BIAS]
    distance = said.get("relative_attention_max_distance", UMT5Config.max_distance)
    try:
        config = UMT5Config(
            vocabulary=shapes[_TOKENS][0],
            dim=shapes[_TOKENS][1],
            attention_dim=shapes[_QUERY][0],
            ffn_dim=shapes[_UP][0],
            heads=heads,
            layers=count_layers(checkpoint.entries, _LAYERS[naming]),
            buckets=buckets,
            max_distance=whole(distance, "relative_attention_max_distance"),
            eps=small(said.get("layer_norm_epsilon", UMT5Config.eps)),
        )
    except ValueError as error:
        raise InputError(f"{checkpoint.where}: {error}") from None
    agree(checkpoint, umt5_json(config))
    refuse_other(checkpoint, _FORMS)
    return in_zoo(config, TEXT_ENCODERS, ("dtype", "scan_layers"))


def umt5_json(config: UMT5Config) -> dict[str, object]:
    """What transformers' config.json of an encoder says of its sizes."""
    return {
        "vocab_size": config.vocabulary,
        "d_model": config.dim,
        "d_kv": config.attention_dim // config.heads,
        "d_ff": config.ffn_dim,
        "num_layers": config.layers,
        "num_heads": config.heads,
        "relative_attention_num_buckets": config.buckets,
        "relative_attention_max_distance": config.max_distance,
        "layer_norm_epsilon": config.eps,
    }
