"""The causal VAE against the reference implementation, and the ways to run its convolutions against each other."""

from __future__ import annotations

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.goldens import TOLERANCE, Golden, relative_error
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.vae import VAE, CausalConv3d, VAEConfig, doubled_conv
from stage_jax.weights.table import from_torch, to_torch
from stage_jax.weights.vae_table import vae_table
from tests.goldens import drawn, load_golden

FORMS = ("conv3d", "concat", "sum")
SMALL = VAEConfig(base=2, multipliers=(1, 2, 2, 2), res_blocks=1)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_golden("vae")


def abstract(config: VAEConfig) -> VAE:
    return nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))


def run(model: VAE, method: str, array: np.ndarray) -> np.ndarray:
    graphdef, state = nnx.split(model)
    return np.asarray(jax.jit(lambda state, x: getattr(nnx.merge(graphdef, state), method)(x))(state, array))


def loaded(golden: Golden, form: str) -> VAE:
    model = golden.model
    config = VAEConfig(
        base=model["dim"],
        multipliers=tuple(model["dim_mult"]),
        res_blocks=model["num_res_blocks"],
        latent_channels=model["z_dim"],
        temporal_down=tuple(model["temperal_downsample"]),
        latent_mean=tuple(golden.io["latent_mean"].tolist()),
        latent_std=tuple(golden.io["latent_std"].tolist()),
        conv=form,
    )
    params = from_torch(golden.weights, vae_table(config), flat_params(abstract(config)))
    back = to_torch(params, vae_table(config))
    assert back.keys() == golden.weights.keys()
    assert all((back[key] == golden.weights[key]).all() for key in back)
    return with_params(abstract(config), params)


def coded(model: VAE, video: np.ndarray, latent: np.ndarray) -> tuple[np.ndarray, ...]:
    """Latents of pictures; pictures of latents, as they are and as `decode` gives them. One program."""
    graphdef, state = nnx.split(model)

    def everything(state, video, latent):
        vae = nnx.merge(graphdef, state)
        raw = jnp.moveaxis(latent, 1, -1) * jnp.asarray(vae.config.latent_std) + jnp.asarray(vae.config.latent_mean)
        return vae.encode(video), vae.reconstruct(raw), vae.decode(latent)

    return tuple(map(np.asarray, jax.jit(everything)(state, video, latent)))


@pytest.mark.parametrize(
    ("form", "which"), [*((form, "") for form in FORMS), ("concat", "_first")], ids=[*FORMS, "still"]
)  # a still takes the same way in all forms
@pytest.mark.smoke
def test_golden(golden: Golden, form: str, which: str):
    model, io = loaded(golden, form), golden.io
    video = np.moveaxis(io["x"][:, :, : 1 if which else None], 1, -1)
    pictures = np.moveaxis(io[f"recon{which}"], 1, -1)
    latents, raw, clipped = coded(model, video, io[f"z{which}"])
    assert np.abs(pictures).max() > 1  # so that clipping is seen
    assert relative_error(latents, io[f"z{which}"]) <= TOLERANCE
    assert relative_error(raw, pictures) <= TOLERANCE
    assert np.abs(clipped - pictures.clip(-1, 1)).max() <= TOLERANCE * np.abs(pictures).max()


@pytest.mark.parametrize("multipliers", [(1, 2), (1, 3, 2), (1, 2, 4, 4)])
def test_sizes(multipliers: tuple[int, ...]):
    """4n + 1 frames become n + 1 and back, whatever the depth; others are refused."""
    config = replace(SMALL, multipliers=multipliers, temporal_down=(False, True, True)[: len(multipliers) - 1])
    model = drawn(abstract(config))
    side, stride = 2 * config.spatial_stride, config.temporal_stride
    for frames in (1, 1 + stride, 1 + 3 * stride):
        encoded = jax.eval_shape(model.encode, jnp.zeros((2, frames, side, side, 3)))
        assert encoded.shape == (2, 16, config.latent_frames(frames), 2, 2)
        assert jax.eval_shape(model.decode, encoded).shape == (2, frames, side, side, 3)
    if stride > 1:
        with pytest.raises(ValueError, match=f"{stride + 2} frames"):
            model.encode(jnp.zeros((1, stride + 2, side, side, 3)))


def test_later_frames_change_no_earlier_ones():
    """Causal in time: what the end shows is not seen before it, in pixels and in latents."""
    model = drawn(abstract(SMALL))
    rng = np.random.default_rng(0)
    video = rng.uniform(-1, 1, (1, 9, 8, 8, 3)).astype(np.float32)
    other = video.copy()
    other[:, 5:] = rng.uniform(-1, 1, other[:, 5:].shape)
    a, b = (run(model, "encode", v) for v in (video, other))
    np.testing.assert_allclose(a[:, :, :2], b[:, :, :2], atol=1e-6)
    assert np.abs(a[:, :, 2] - b[:, :, 2]).max() > 1e-3
    np.testing.assert_allclose(run(model, "encode", video[:, :1]), a[:, :, :1], atol=1e-5)
    c, d = (run(model, "decode", z) for z in (a, b))
    np.testing.assert_allclose(c[:, :5], d[:, :5], atol=1e-5)
    assert np.abs(c[:, 5:] - d[:, 5:]).max() > 1e-3


@pytest.mark.parametrize("frames", [1, 5])
@pytest.mark.parametrize(
    ("size", "time"),
    [
        ((3, 3, 3), {}),
        pytest.param((1, 1, 1), {}, marks=pytest.mark.slow),
        pytest.param((3, 1, 1), {}, marks=pytest.mark.slow),
        pytest.param((3, 1, 1), {"time_padding": False, "time_stride": 2}, marks=pytest.mark.slow),
    ],
)
def test_forms_agree(size: tuple[int, int, int], time: dict, frames: int):
    """Values and gradients of one causal convolution; for a still, only the last tap has any."""
    if frames == 1 and time:
        pytest.skip("a still is not halved in time")
    key = jax.random.key(0)
    x = jax.random.normal(key, (2, frames, 4, 3, 2))

    @functools.partial(jax.jit, static_argnums=0)
    def value_and_gradients(form: str) -> list[jax.Array]:
        conv = CausalConv3d(2, 3, size, form=form, init=1.0, rngs=nnx.Rngs(0), **time)
        params = flat_params(conv)
        value, back = jax.vjp(lambda x, params: with_params(conv, params)(x), x, params)
        return [value, *jax.tree.leaves(back(jax.random.normal(key, value.shape)))]

    expected = value_and_gradients("conv3d")
    assert expected[0].shape[1] == (2 if time else frames)
    for form in ("concat", "sum"):
        for found, wanted in zip(value_and_gradients(form), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def test_doubling_and_convolution_in_one():
    """Equal to nearest doubling followed by a 3x3 convolution, values and gradients."""
    rng = np.random.default_rng(2)
    x, kernel = (jnp.asarray(rng.standard_normal(shape), jnp.float32) for shape in ((2, 5, 4, 3), (3, 3, 3, 2)))

    def plain(x, kernel):
        doubled = x.repeat(2, axis=1).repeat(2, axis=2)
        return jax.lax.conv_general_dilated(doubled, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))

    found, back = jax.vjp(doubled_conv, x, kernel)
    expected, plain_back = jax.vjp(plain, x, kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    seed = jnp.asarray(rng.standard_normal(found.shape), jnp.float32)
    for ours, theirs in zip(back(seed), plain_back(seed), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
