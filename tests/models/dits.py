"""DiTs and their sequences, as several tests need them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from stage_jax.evaluation.golden_configs import dit_config
from stage_jax.evaluation.goldens import Golden, draw_input
from stage_jax.models.dit import DiT, DiTConfig, DiTOutput
from stage_jax.models.sequence import Segment, TokenSequence, grid_positions
from stage_jax.models.stacking import flat_params, stack_params, with_params
from stage_jax.recipes.wan import flf2v_sequence, i2v_sequence, t2v_sequence, ti2v_sequence
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import from_torch
from tests.goldens import QUICK, drawn

TINY = DiTConfig(dim=24, ffn_dim=32, heads=2, layers=2, text_dim=6, text_len=4, freq_dim=16, in_channels=4, out_channels=4)
TINY_CLIP = replace(TINY, image_dim=5, image_positions=6)


def abstract(config: DiTConfig) -> DiT:
    return nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))


def random_model(config: DiTConfig) -> DiT:
    return drawn(abstract(config))


def random_sequence(config: DiTConfig, batch: int = 2) -> TokenSequence:
    rng = np.random.default_rng(3)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal((batch, *shape), dtype=np.float32)

    segment = Segment(normal(config.in_channels, 2, 4, 4), grid_positions(2, 4, 4)[None])
    captions = normal(1, config.text_len, config.text_dim)
    image = None if config.image_dim is None else normal(config.image_positions, config.image_dim)
    return TokenSequence((segment,), np.full((batch, 1), 300.0, np.float32), captions, image)


def run(model: DiT, sequence: TokenSequence, taps: tuple[str, ...] = (), options: dict = QUICK) -> DiTOutput:
    return compiled(model, taps, options)(sequence)


def compiled(
    model: DiT, taps: tuple[str, ...] = (), options: dict = QUICK
) -> Callable[[TokenSequence], DiTOutput]:
    """The model as a function that compiles once for sequences of one shape."""
    graphdef, state = nnx.split(model)
    call = jax.jit(lambda state, sequence: nnx.merge(graphdef, state)(sequence, taps), compiler_options=options)
    return partial(call, state)


def golden_config(golden: Golden, **changes) -> DiTConfig:
    return replace(dit_config(golden), **changes)


def golden_sequence(golden: Golden) -> TokenSequence:
    """What the golden's task makes of its arrays. Captions come shorter than text_len where the texts are: the DiT fills
    them.
    """
    io = {name: jnp.asarray(array) for name, array in golden.io.items()}
    caption = joined_captions([golden.io[f"context_{i}"] for i in range(len(io["x"]))])
    match golden.model["model_type"]:
        case "t2v":
            return t2v_sequence(io["x"], io["t"], caption)
        case "i2v":
            return i2v_sequence(io["x"], io["y"], io["t"], caption, _clip_features(golden, 1)[:, 0])
        case "flf2v":
            return flf2v_sequence(io["x"], io["y"], io["t"], caption, _clip_features(golden, 2))
        case "ti2v":  # t: of every token, the first frame's first
            return ti2v_sequence(io["x"][:, :, :1], io["x"][:, :, 1:], io["t"][:, -1], caption)


def joined_captions(texts: list[np.ndarray]) -> jax.Array:
    """Texts [L_i, D] of any length -> [B, max L, D], zeros past each."""
    longest = max(map(len, texts))
    return jnp.stack([jnp.pad(jnp.asarray(text), ((0, longest - len(text)), (0, 0))) for text in texts])


def loaded(golden: Golden, scan: bool) -> DiT:
    unrolled = golden_config(golden, scan_layers=False)
    params = from_torch(golden.weights, DIT_TABLE, flat_params(abstract(unrolled)))
    return with_params(abstract(golden_config(golden, scan_layers=scan)), stack_params(params) if scan else params)


def _clip_features(golden: Golden, images: int) -> jax.Array:
    """[B, images, 257, 1280]; an example's images lie next to each other."""
    batch = len(golden.io["x"])
    return jnp.asarray(draw_input("clip_fea", (batch * images, 257, 1280), golden.seed)).reshape(batch, images, 257, 1280)
