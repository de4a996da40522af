"""Optimisers by name: AdamW as the papers use it, Muon on matrices with Adam on everything else, or plain SGD."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import optax
from ml_collections import ConfigDict
from optax.contrib import MuonDimensionNumbers

from stage_jax.errors import InputError


def learning_rate(config: ConfigDict, steps: int) -> optax.Schedule:
    """Linear warm-up, flat until `flat` of the steps, then down to `final` of the peak in a straight line (our choice) or,
    where `decay` says so, half a cosine."""
    decay_from = max(int(config.flat * steps), config.warmup + 1)
    falling = max(steps - decay_from, 1)
    if config.get("decay") == "cosine":
        decay = optax.cosine_decay_schedule(config.lr, falling, config.final)
    else:
        decay = optax.linear_schedule(config.lr, config.final * config.lr, falling)
    return optax.join_schedules(
        [
            optax.linear_schedule(config.lr / (config.warmup + 1), config.lr, config.warmup),
            optax.constant_schedule(config.lr),
            decay,
        ],
        [config.warmup, decay_from],
    )


def make_optimizer(config: ConfigDict, steps: int, params: Mapping[str, Any]) -> optax.GradientTransformation:
    """`config`: name (muon | adamw | sgd), lr, warmup, flat, final, decay, weight_decay, clip (of the gradient's norm over all
    parameters; 0 for none), b2, adam_only (a pattern of parameter paths that Muon leaves to Adam: embeddings, tables, the
    head), momentum (SGD's). `params`: arrays or their shapes by dotted path."""
    rate = learning_rate(config, steps)
    if config.name == "adamw":
        update = optax.adamw(rate, b2=config.b2, weight_decay=config.weight_decay)
    elif config.name == "muon":
        update = optax.contrib.muon(
            rate,
            adam_b2=config.b2,
            weight_decay=config.weight_decay,
            consistent_rms=0.2,  # update sizes as AdamW's, so that one learning rate serves both
            muon_weight_dimension_numbers={
                path: None if array.ndim < 2 or re.search(config.adam_only, path) else matrix_axes(array.ndim)
                for path, array in params.items()
            },
        )
    elif config.name == "sgd":
        update = optax.chain(optax.add_decayed_weights(config.weight_decay), optax.sgd(rate, momentum=config.momentum))
    else:
        raise InputError(f"config.optimizer.name: found {config.name!r}, expected muon, adamw or sgd")
    return optax.chain(optax.clip_by_global_norm(config.clip), update) if config.clip else update


def matrix_axes(ndim: int) -> MuonDimensionNumbers:
    """A kernel as a matrix: all axes but the last are inputs (a convolution's taps and channels together)."""
    return MuonDimensionNumbers(reduction_axis=tuple(range(ndim - 1)), output_axis=ndim - 1)
