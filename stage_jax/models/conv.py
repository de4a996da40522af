"""2-D convolution with a gradient that the CPU does well.

XLA computes a kernel's gradient on the CPU as one convolution with a picture-sized window, at a tenth of its matrix
speed. `conv2d` has the same value and gradients, but on the CPU sums the kernel's gradient from one matrix product per
kernel row (measured at 17x64x64, 24 to 8 channels: 13.8 ms became 5.5 ms). TPU and GPU keep XLA's own gradient.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def conv2d(
    x: Float[Array, "n h w c"], kernel: Float[Array, "kh kw c d"], stride: int = 1, padding: tuple[int, int] | None = None
) -> Float[Array, "n y x d"]:
    """Channels-last convolution. `padding` is (before, after) on both axes; None pads half the kernel, so that a stride
    of 1 keeps the size."""
    before, after = (kernel.shape[0] // 2,) * 2 if padding is None else padding
    square = kernel.shape[0] == kernel.shape[1]
    if jax.default_backend() == "cpu" and stride == 1 and before == after and square:
        return _conv_rows(x, kernel, before)
    pads = ((before, after), (kernel.shape[1] // 2,) * 2 if padding is None else padding)
    return _conv(x, kernel, stride, pads)


def _conv(x, kernel, stride, padding):
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv_rows(x, kernel, pad):
    return _conv(x, kernel, 1, ((pad, pad), (pad, pad)))


def _forward(x, kernel, pad):
    return _conv_rows(x, kernel, pad), (x, kernel)


def _backward(pad, residuals, dy):
    x, kernel = residuals
    size, _, cin, cout = kernel.shape
    n, h, w, _ = x.shape
    rest = size - 1 - pad
    dx = _conv(dy, kernel[::-1, ::-1].swapaxes(2, 3), 1, ((rest, rest), (rest, rest)))
    # dkernel[i, j] = sum over pixels of x[r, c] dy[r - i + pad, c - j + pad]: shift the narrower side, dy, along the
    # columns once, and contract it with x for every kernel row.
    padded = jnp.pad(dy, ((0, 0), (rest, rest), (rest, rest), (0, 0)))
    shifted = jnp.concatenate([padded[:, :, size - 1 - j : size - 1 - j + w] for j in range(size)], axis=-1)
    flat = x.reshape(n * h * w, cin)
    rows = [flat.T @ shifted[:, size - 1 - i : size - 1 - i + h].reshape(n * h * w, size * cout) for i in range(size)]
    return dx, jnp.stack(rows).reshape(size, cin, size, cout).swapaxes(1, 2)


_conv_rows.defvjp(_forward, _backward)
