"""Landing: a clip comes to end on its picture, by its last latent frame alone. With the shipped VAE: through a decoder of
random weights a picture cannot be sought by gradients."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.generate.models import read_codec
from stage_jax.models.vae import VAE
from stage_jax.sampling.landing import land

SIDE, FRAMES = 32, 9


@pytest.fixture(scope="module")
def vae() -> VAE:
    return read_codec(Path(str(resources.files("stage_jax") / "assets/tiny"))).vae


@pytest.fixture(scope="module")
def clips(vae: VAE) -> tuple[jax.Array, jax.Array]:
    """Latents of two clips in which a disc moves over a plain ground, and the picture on which each shall end: the disc has
    moved on."""
    places = np.linspace([[8, 10], [24, 12]], [[20, 16], [10, 24]], FRAMES + 1)  # [frames, clips, x and y]
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    far = np.hypot(across - places[..., 0, None, None], down - places[..., 1, None, None])[..., None]
    pictures = np.where(far < 6, [0.8, -0.2, -0.7], [-0.3, 0.4, 0.6]).swapaxes(0, 1).astype(np.float32)
    return jax.jit(VAE.encode)(vae, pictures[:, :FRAMES]), jnp.asarray(pictures[:, -1])


def decoded(vae: VAE, latents: jax.Array) -> np.ndarray:
    return np.asarray(jax.jit(VAE.decode)(vae, latents))


def error_of_last(vae: VAE, latents: jax.Array, last: jax.Array) -> np.ndarray:
    return np.square(decoded(vae, latents)[:, -1] - last).mean((1, 2, 3))


@jax.jit
def landed(vae: VAE, clips: tuple[jax.Array, jax.Array], hold: float | jax.Array = 1.0) -> jax.Array:
    return land(vae, *clips, 12, hold=hold)


def test_it_ends_on_the_picture(vae: VAE, clips: tuple[jax.Array, jax.Array]):
    """A quarter of the error and more goes; all latent frames but the last stay to the bit."""
    latents, last = clips
    ended = landed(vae, clips)
    assert (error_of_last(vae, ended, last) < 0.75 * error_of_last(vae, latents, last)).all()
    np.testing.assert_array_equal(ended[:, :, :-1], latents[:, :, :-1])


def test_the_frames_between_are_held(vae: VAE, clips: tuple[jax.Array, jax.Array]):
    """They move less the more they count, and the last one comes nearer the less they do."""
    latents, last = clips
    before = decoded(vae, latents)[:, 5:-1]
    moved, off = [], []
    for hold in (0.0, 1.0, 100.0):
        ended = landed(vae, clips, hold)
        moved.append(np.square(decoded(vae, ended)[:, 5:-1] - before).mean())
        off.append(error_of_last(vae, ended, last).mean())
    assert moved[0] > moved[1] > moved[2] and off[0] < off[1] < off[2] < error_of_last(vae, latents, last).mean()


def test_every_clip_is_its_own(vae: VAE, clips: tuple[jax.Array, jax.Array]):
    """A clip ends the same whatever the other of its batch ends on; without steps, and for a still, nothing moves."""
    latents, last = clips
    both, other = landed(vae, clips), landed(vae, (latents, last.at[1].set(0.3)))
    np.testing.assert_array_equal(other[0], both[0])
    assert np.abs(other[1] - both[1]).max() > 0.1
    assert land(vae, latents, last, 0) is latents
    assert land(vae, latents[:, :, :1], last, 12).shape == latents[:, :, :1].shape
