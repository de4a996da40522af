"""Landing: a clip comes to end on its picture, by its last latent frame alone."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.models.vae import VAE
from stage_jax.sampling.landing import land
from tests.goldens import drawn
from tests.training import sizes


@pytest.fixture(scope="module")
def vae() -> VAE:
    return drawn(nnx.eval_shape(lambda: VAE(sizes.VAE, nnx.Rngs(0))))


@pytest.fixture(scope="module")
def clips(vae: VAE) -> tuple[jax.Array, jax.Array]:
    """Latents of two clips of nine frames, and for each the last picture that other latents decode to."""
    side = sizes.SIDE // sizes.VAE.spatial_stride
    latents = jax.random.normal(jax.random.key(0), (3, 2, sizes.VAE.latent_channels, 3, side, side))
    wanted = latents[0].at[:, :, -1].add(0.3 * latents[1][:, :, -1])
    return latents[0], jnp.asarray(decoded(vae, wanted)[:, -1])


def decoded(vae: VAE, latents: jax.Array) -> np.ndarray:
    """Not clipped: what random weights make of noise is far out."""
    return np.asarray(jax.jit(functools.partial(vae.decode, finish=lambda pictures: pictures))(latents))


def error_of_last(vae: VAE, latents: jax.Array, last: jax.Array) -> np.ndarray:
    return np.square(decoded(vae, latents)[:, -1] - last).mean((1, 2, 3))


def test_it_ends_on_the_picture(vae: VAE, clips: tuple[jax.Array, jax.Array]):
    """Half of the error and more goes, through a decoder of noise; all latent frames but the last stay to the bit."""
    latents, last = clips
    landed = jax.jit(functools.partial(land, vae, steps=200, hold=0.0))(latents, last)
    assert (error_of_last(vae, landed, last) < 0.5 * error_of_last(vae, latents, last)).all()
    np.testing.assert_array_equal(landed[:, :, :-1], latents[:, :, :-1])


def test_the_frames_between_are_held(vae: VAE, clips: tuple[jax.Array, jax.Array]):
    """They move less the more they count, and the last one comes nearer the less they do."""
    latents, last = clips
    before = decoded(vae, latents)[:, 5:-1]
    moved, off = [], []
    for hold in (0.0, 1.0, 100.0):
        landed = jax.jit(functools.partial(land, vae, steps=30, hold=hold))(latents, last)
        moved.append(np.square(decoded(vae, landed)[:, 5:-1] - before).mean())
        off.append(error_of_last(vae, landed, last).mean())
    assert moved[0] > moved[1] > moved[2] and off[0] < off[1] < off[2] < error_of_last(vae, latents, last).mean()


def test_every_clip_is_its_own(vae: VAE, clips: tuple[jax.Array, jax.Array]):
    """A batch gives what its clips give alone; without steps, and for a still, nothing moves."""
    latents, last = clips
    program = jax.jit(functools.partial(land, vae, steps=10))
    alone = jnp.concatenate([program(latents[i : i + 1], last[i : i + 1]) for i in range(2)])
    np.testing.assert_allclose(program(latents, last), alone, atol=5e-3)
    assert land(vae, latents, last, 0) is latents
    assert land(vae, latents[:, :, :1], last, 10).shape == latents[:, :, :1].shape
