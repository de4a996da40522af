"""Pictures as CLIP takes them."""

from __future__ import annotations

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from stage_jax.models.sequence import AnyArray

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # of CLIP's pictures, in [0, 1]
SHARPNESS = -0.75  # of PyTorch's bicubic kernel; jax.image has Keys' -0.5


def clip_pictures(pictures: Float[AnyArray, "b h w 3"], side: int = 224) -> Float[Array, "b side side 3"]:
    """Pictures in [-1, 1] as Wan's own code hands them to CLIP: resized to side x side whatever their aspect, bicubic without
    antialiasing, not clipped; then normalised by CLIP's mean and deviation. float32.

    diffusers hands over what `CLIPImageProcessor` makes instead: the shorter side resized by PIL, with antialiasing, the
    middle cut out, rounded to 8 bits. Features differ by that between the two.
    """
    x = jnp.asarray(pictures, jnp.float32)
    rows, columns = (bicubic(size, side) for size in x.shape[1:3])
    x = jnp.einsum("yh,xw,bhwc->byxc", rows, columns, x, precision="highest")
    return ((x + 1) / 2 - jnp.asarray(MEAN)) / jnp.asarray(STD)


@functools.cache
def bicubic(size: int, to: int) -> Float[np.ndarray, "to size"]:
    """Bicubic interpolation along an axis, as PyTorch does it: centres of pixels at 0.5, four taps, the border repeated.

    Places are rounded as its float32 does, a product and a sum at once: exact ones change noise at 832 pixels by 1e-4.
    """
    places = ((np.arange(to) + 0.5) * float(np.float32(size / to)) - 0.5).astype(np.float32).astype(np.float64)
    matrix = np.zeros((to, size))
    for tap in range(-1, 3):
        pixel = np.floor(places).astype(int) + tap
        np.add.at(matrix, (np.arange(to), pixel.clip(0, size - 1)), _cubic(np.abs(places - pixel)))
    return matrix.astype(np.float32)


def _cubic(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """The cubic convolution kernel at distances up to 2."""
    near = (SHARPNESS + 2) * x**3 - (SHARPNESS + 3) * x**2 + 1
    return np.where(x <= 1, near, SHARPNESS * (x**3 - 5 * x**2 + 8 * x - 4))
