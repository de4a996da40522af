"""Wan's two VAEs against diffusers' AutoencoderKLWan, live: latents and pictures of clips of several lengths."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import VAES
from stage_jax.weights.table import from_torch, to_torch
from stage_jax.weights.vae_table import vae_table
from tests.goldens import QUICK
from tests.models.peers import wan_autoencoder

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TOLERANCE = 2e-5  # of the largest value


def their_vae(config: VAEConfig) -> torch.nn.Module:
    model = wan_autoencoder(config).eval()
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        shrink = 0.1 if parameter.ndim < 2 or parameter.shape[1:].numel() == 1 else parameter.shape[1:].numel() ** -0.5
        drawn = torch.randn(parameter.shape, generator=generator) * shrink
        parameter.data = parameter.data + drawn if parameter.shape[1:].numel() == 1 else drawn
    return model


@pytest.mark.parametrize("name", ["wan2.1-tiny", "wan2.2-tiny"])
def test_autoencoder(name: str):
    config = VAES[name]
    theirs = their_vae(config)
    state = {key: value.numpy() for key, value in theirs.state_dict().items()}
    abstract = nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))
    params = from_torch(state, vae_table(config), flat_params(abstract), naming="diffusers")
    back = to_torch(params, vae_table(config), naming="diffusers")
    assert back.keys() == state.keys() and all((back[key] == state[key]).all() for key in state)
    graphdef, ours = nnx.split(with_params(abstract, params))
    encode = jax.jit(lambda state, x: nnx.merge(graphdef, state).encode(x), compiler_options=QUICK)
    decode = jax.jit(lambda state, z: nnx.merge(graphdef, state).decode(z, finish=lambda x: x), compiler_options=QUICK)
    mean, std = (torch.tensor(values).view(1, -1, 1, 1, 1) for values in (config.latent_mean, config.latent_std))
    rng = np.random.default_rng(0)
    for frames in (1, 5, 9, 17):
        video = rng.uniform(-1, 1, (2, frames, 32, 48, 3)).astype(np.float32)
        with torch.no_grad():
            moments = theirs.encode(torch.tensor(np.moveaxis(video, -1, 1))).latent_dist.mode()
            latent = ((moments - mean) / std).numpy()
        assert relative_error(encode(ours, video), latent) <= TOLERANCE
        latent = (0.3 * rng.standard_normal(latent.shape)).astype(np.float32)
        pictures = np.moveaxis(np.asarray(decode(ours, latent)), -1, 1)
        with torch.no_grad():
            expected = theirs.decode(torch.tensor(latent) * std + mean).sample.numpy()  # clipped
        assert (np.abs(expected) < 1).mean() > 0.5
        assert relative_error(pictures.clip(-1, 1), expected) <= TOLERANCE
