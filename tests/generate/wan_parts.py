"""Wan's parts at the smallest sizes with random weights, ours and diffusers' with the same numbers."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import UniPCMultistepScheduler
from flax import nnx
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5EncoderModel
from transformers import UMT5Config as TheirUMT5Config

from stage_jax.generate.parts import Part
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params, unstack_params, with_params
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.models.zoo import VAES
from stage_jax.sampling.solver import Solver
from stage_jax.weights.clip_table import clip_table
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import from_torch, to_torch
from stage_jax.weights.umt5_table import UMT5_TABLE
from stage_jax.weights.vae_table import vae_table
from tests.goldens import drawn
from tests.models.test_dit_diffusers import their_model
from tests.models.test_vae_diffusers import their_vae


def load(module: torch.nn.Module, state: dict[str, np.ndarray]) -> torch.nn.Module:
    module.load_state_dict({name: torch.tensor(np.asarray(array)) for name, array in state.items()}, strict=True)
    return module.eval()


@functools.cache
def vae_pair(name: str) -> tuple[Part, torch.nn.Module]:
    config = VAES[name]
    theirs = their_vae(config)
    ours = nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    return Part.of(with_params(ours, from_torch(state, vae_table(config), flat_params(ours), naming="diffusers"))), theirs


@functools.cache
def umt5_pair(vocabulary: int, dim: int) -> tuple[Part, UMT5EncoderModel]:
    config = UMT5Config(vocabulary, dim, attention_dim=2 * dim, ffn_dim=32, heads=2, layers=2)
    ours = drawn(nnx.eval_shape(lambda: UMT5Encoder(config, nnx.Rngs(0))))
    theirs = UMT5EncoderModel(
        TheirUMT5Config(
            vocab_size=vocabulary, d_model=dim, d_kv=dim, d_ff=32, num_heads=2, num_layers=2,
            feed_forward_proj="gated-gelu", dropout_rate=0.0,
        )
    )  # fmt: skip
    state = to_torch(unstack_params(flat_params(ours)), UMT5_TABLE, naming="diffusers")
    return Part.of(ours), load(theirs, state | {"encoder.embed_tokens.weight": state["shared.weight"]})


def dit_pair(config: DiTConfig, factor: float = 1.0) -> tuple[Part, torch.nn.Module]:
    """factor: on all weights, so that two experts differ."""
    theirs = their_model(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.mul_(factor)
    unrolled = nnx.eval_shape(lambda: DiT(replace(config, scan_layers=False), nnx.Rngs(0)))
    state = {name: value.numpy() for name, value in theirs.state_dict().items()}
    return Part.of(with_params(unrolled, from_torch(state, DIT_TABLE, flat_params(unrolled), naming="diffusers"))), theirs


def clip_pair(dim: int) -> tuple[Part, CLIPVisionModel]:
    """A vision tower that makes 5 rows of a picture of 224 pixels."""
    sizes = dict(hidden_size=dim, intermediate_size=32, num_attention_heads=2, num_hidden_layers=3)
    theirs = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=224, patch_size=112, hidden_act="gelu"))
    config = CLIPConfig(dim, 32, 2, 3, picture=224, patch=112, scan_layers=False)
    ours = drawn(nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0))))
    state = to_torch(flat_params(ours), clip_table(config), naming="diffusers")
    # In files its names begin with "vision_model.", in memory they do not.
    return Part.of(ours), load(theirs, {name.removeprefix("vision_model."): array for name, array in state.items()})


def scheduler_on(solver: Solver, sigmas: np.ndarray) -> Any:
    """diffusers' UniPC on these levels and timesteps: its own differ from those of Wan's code."""
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000)
    own = scheduler.set_timesteps

    def set_timesteps(steps: int, device: Any = None) -> None:
        own(steps, device=device)
        scheduler.sigmas, scheduler.timesteps = torch.tensor(sigmas), torch.tensor(solver.timesteps)

    scheduler.set_timesteps = set_timesteps
    return scheduler
