"""The causal VAEs against the reference implementation, whole clips against chunks, and the ways to run convolutions."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.golden_configs import vae_config
from stage_jax.evaluation.goldens import TOLERANCE, Golden, relative_error
from stage_jax.generate.models import to_bytes
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.vae import VAE
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.vae_layers import CausalConv3d, doubled_conv
from stage_jax.models.vae_shortcuts import average_down, repeat_up
from stage_jax.models.zoo import VAES
from stage_jax.recipes.wan import flf2v_condition
from stage_jax.weights.table import from_torch, to_torch
from stage_jax.weights.vae_table import vae_table
from tests.goldens import QUICK, drawn, load_golden

FORMS = ("conv3d", "concat", "sum")
SMALL = VAEConfig(base=2, multipliers=(1, 2, 2, 2), res_blocks=1)
KEPT = (("2.1", "concat"), ("2.2", "conv3d"))  # forms of chunks that are not slow tests
SMALL22 = replace(SMALL, decoder_base=4, patch=2, residual=True)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_golden("vae")


def abstract(config: VAEConfig) -> VAE:
    return nnx.eval_shape(lambda: VAE(config, nnx.Rngs(0)))


def run(model: VAE, method: str | Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """One method of the model, or a function of it and of arrays, compiled."""
    graphdef, state = nnx.split(model)

    def call(state, *arrays):
        vae = nnx.merge(graphdef, state)
        return getattr(vae, method)(*arrays) if isinstance(method, str) else method(vae, *arrays)

    return jax.tree.map(np.asarray, jax.jit(call, compiler_options=QUICK)(state, *arrays))


def loaded(golden: Golden, form: str) -> VAE:
    config = replace(vae_config(golden), conv=form)
    params = from_torch(golden.weights, vae_table(config), flat_params(abstract(config)))
    back = to_torch(params, vae_table(config))
    assert back.keys() == golden.weights.keys()
    assert all((back[key] == golden.weights[key]).all() for key in back)
    return with_params(abstract(config), params)


def whole(vae: VAE, video: jax.Array, latent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """What `encode` and `decode` give, without chunks; not clipped."""
    mean, std = jnp.asarray(vae.config.latent_mean), jnp.asarray(vae.config.latent_std)
    encoded = (vae.moments(video)[0] - mean) / std
    return jnp.moveaxis(encoded, -1, 1), vae.reconstruct(jnp.moveaxis(latent, 1, -1) * std + mean)


@pytest.mark.parametrize(
    ("form", "which"), [*((form, "") for form in FORMS), ("concat", "_first")], ids=[*FORMS, "still"]
)  # a still takes the same way in all forms
@pytest.mark.smoke
def test_golden(golden: Golden, form: str, which: str):
    """Whole clips; `stage parity` compares the same in chunks, and Wan2.2's."""
    model, io = loaded(golden, form), golden.io
    video = np.moveaxis(io["x"][:, :, : 1 if which else None], 1, -1)
    pictures = np.moveaxis(io[f"recon{which}"], 1, -1)
    latents, raw = run(model, whole, video, io[f"z{which}"])
    assert relative_error(latents, io[f"z{which}"]) <= TOLERANCE
    assert relative_error(raw, pictures) <= TOLERANCE


def test_decode_clips(golden: Golden):
    model, z = loaded(golden, "concat"), golden.io["z_first"]
    clipped = run(model, "decode", z)
    assert np.abs(golden.io["recon_first"]).max() > 1
    np.testing.assert_allclose(clipped, run(model, lambda vae, z: vae.decode(z, finish=lambda x: x), z).clip(-1, 1), atol=1e-6)


@pytest.mark.parametrize(
    ("config", "form"),
    [
        pytest.param(config, form, id=f"{name}-{form}", marks=() if (name, form) in KEPT else pytest.mark.slow)
        for name, config in (("2.1", SMALL), ("2.2", SMALL22))
        for form in FORMS
    ],
)
def test_chunks_are_the_whole(config: VAEConfig, form: str):
    """Three chunks after the first frame: what a layer forgets or counts twice shows in the second and the third."""
    model = drawn(abstract(replace(config, conv=form)))
    rng, side = np.random.default_rng(0), config.spatial_stride
    video = rng.uniform(-1, 1, (2, 13, side, 2 * side, 3)).astype(np.float32)
    latent = rng.standard_normal((2, 16, 4, 1, 2)).astype(np.float32)
    encoded, decoded = run(model, whole, video, latent)
    chunked = run(model, lambda vae, *x: (vae.encode(x[0]), vae.decode(x[1], finish=lambda x: x)), video, latent)
    assert relative_error(chunked[0], encoded) <= TOLERANCE
    assert relative_error(chunked[1], decoded) <= TOLERANCE


@pytest.mark.parametrize("config", [SMALL, SMALL22], ids=["2.1", "2.2"])
def test_one_more_latent_frame_after_those_before(config: VAEConfig):
    """As the last pictures of the whole clip, after one frame and after two."""
    model = drawn(abstract(config))
    latent = np.random.default_rng(1).standard_normal((2, 16, 3, 1, 2)).astype(np.float32)
    _, decoded = run(model, whole, np.zeros((2, 1, config.spatial_stride, config.spatial_stride, 3), np.float32), latent)

    def next_after(vae: VAE, latent: jax.Array, frames: int) -> jax.Array:
        return vae.decode_next(latent[:, :, frames : frames + 1], vae.before_next(latent[:, :, :frames]))

    for frames, pictures in ((1, slice(1, 5)), (2, slice(5, 9))):
        found = run(model, functools.partial(next_after, frames=frames), latent)
        assert relative_error(found, decoded[:, pictures]) <= TOLERANCE


PROGRAMS = {
    "encode": lambda vae, video: vae.encode(video),
    "decode": lambda vae, latent: vae.decode(latent),
    "bytes": lambda vae, latent: vae.decode(latent, finish=to_bytes),
}


@pytest.mark.parametrize(
    ("name", "program"),
    [*((name, program) for name in ("wan2.1", "wan2.2") for program in ("encode", "decode")),
     ("wan2.1", "bytes"), ("wan2.1", "given")],
)  # fmt: skip
def test_memory_does_not_grow_with_the_clip(name: str, program: str):
    """Full size at 480x832, compiled from shapes alone: what 161 frames need beside input and output is what 81 need. Also
    for the pictures that a video ends as, and for the condition that its first and last pictures become."""
    graphdef, state = nnx.split(abstract(VAES[name]))
    config, needed = VAES[name], []
    for frames in (81, 161):
        latent = (config.latent_frames(frames), 480 // config.spatial_stride, 832 // config.spatial_stride)
        shapes = [(1, config.latent_channels, *latent)]
        run = PROGRAMS.get(program, functools.partial(flf2v_condition, frames=frames))
        if program == "encode":
            shapes = [(1, frames, 480, 832, 3)]
        elif program == "given":
            shapes = [(1, 480, 832, 3)] * 2
        function = jax.jit(lambda state, *x, run=run: run(nnx.merge(graphdef, state), *x), compiler_options=QUICK)
        compiled = function.lower(state, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)).compile()
        needed.append(compiled.memory_analysis().temp_size_in_bytes)
    assert needed[0] > 1e9
    assert abs(needed[1] - needed[0]) <= 0.02 * needed[0]


def test_shortcuts():
    """By their definition, an index at a time: three frames of which the first stands alone, boxes of 2x2x2."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 3, 2, 4, 2)).astype(np.float32)
    padded = np.concatenate([np.zeros_like(x[:, :1]), x], axis=1)
    unfolded = np.zeros((1, 2, 1, 2, 16), np.float32)
    for t, y, z, c, i, j, k in np.ndindex(2, 1, 2, 2, 2, 2, 2):
        unfolded[0, t, y, z, ((c * 2 + i) * 2 + j) * 2 + k] = padded[0, 2 * t + i, 2 * y + j, 2 * z + k, c]
    np.testing.assert_allclose(average_down(jnp.asarray(x), 4, 2, 2), unfolded.reshape(1, 2, 1, 2, 4, 4).mean(-1), atol=1e-6)
    up = np.zeros((1, 6, 4, 8, 2), np.float32)
    for t, y, z, c, i, j, k in np.ndindex(3, 2, 4, 2, 2, 2, 2):
        up[0, 2 * t + i, 2 * y + j, 2 * z + k, c] = x[0, t, y, z, (((c * 2 + i) * 2 + j) * 2 + k) // 8]
    np.testing.assert_array_equal(repeat_up(jnp.asarray(x), 2, 2, 2, first=False), up)
    np.testing.assert_array_equal(repeat_up(jnp.asarray(x), 2, 2, 2, first=True), up[:, 1:])


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


HALVING = {"time_padding": False, "time_stride": 2}  # of clips: a still is not halved in time


@pytest.mark.parametrize(
    ("size", "time", "frames"),
    [
        ((3, 3, 3), {}, 1),
        ((3, 3, 3), {}, 5),
        *(
            pytest.param(size, time, frames, marks=pytest.mark.slow)
            for size, time, frames in (
                ((1, 1, 1), {}, 1), ((1, 1, 1), {}, 5), ((3, 1, 1), {}, 1), ((3, 1, 1), {}, 5), ((3, 1, 1), HALVING, 5)
            )
        ),
    ],
)  # fmt: skip
def test_forms_agree(size: tuple[int, int, int], time: dict, frames: int):
    """Values and gradients of one causal convolution; for a still, only the last tap has any."""
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


@pytest.mark.slow
def test_rows_over_four_devices(tmp_path: Path):
    """Large pictures: the same numbers, and each device needs much less memory than one alone."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    command = [sys.executable, "-m", "tests.models.vae_sharded_worker", tmp_path / "result.npz"]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "result.npz") as result:
        for method in ("encode", "decode"):
            # Rows from the wrong neighbour would differ by the size of the pictures; this random decoder amplifies rounding.
            assert relative_error(result[f"{method}:four"], result[f"{method}:one"]) <= 1e-4
            assert result[f"{method}:four:bytes"] <= 0.4 * result[f"{method}:one:bytes"]
