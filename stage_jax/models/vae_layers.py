"""Layers of the causal video VAE: convolutions that look back in time only, and the changes of size.

A layer takes a whole clip, or one chunk of it with the `Past` that the chunks before have left; both give the same numbers.
"""

from __future__ import annotations

import math

import einops
import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from stage_jax.models.conv import conv2d
from stage_jax.models.vae_chunks import Past
from stage_jax.models.vae_config import ConvForm, VAEConfig


class CausalConv3d(nnx.Module):
    """A convolution over time and space that looks back in time only; zeros stand before the first frame."""

    def __init__(
        self, cin: int, cout: int, size: tuple[int, int, int], *, form: ConvForm | None, init: float, rngs: nnx.Rngs,
        scale: float = 1.0, time_padding: bool = True, time_stride: int = 1,
    ):  # fmt: skip
        bound = scale / math.sqrt(cin * math.prod(size))
        kernel = jax.random.uniform(rngs.params(), (*size, cin, cout), minval=-bound, maxval=bound) * math.sqrt(3)
        taps = jnp.full((size[0], 1, 1, 1, 1), init).at[-1].set(1.0)
        self.kernel = nnx.Param(kernel * taps)
        self.bias = nnx.Param(jnp.zeros(cout))
        self.form, self.time_padding, self.time_stride = form, time_padding, time_stride

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b s h w d"]:
        kernel = self.kernel[...].astype(x.dtype)
        kt, kh, kw = kernel.shape[:3]
        b, t = x.shape[:2]
        space = ((kh // 2, kh // 2), (kw // 2, kw // 2))
        form = self.form or ("concat" if jax.default_backend() == "cpu" else "conv3d")
        back = kt - 1 if self.time_padding else 0
        begins = past is None or past.empty
        if past is not None and back:
            before = jnp.zeros((b, back, *x.shape[2:]), x.dtype) if past.empty else past.take()
            joined = jnp.concatenate([before, x], axis=1)
            past.leave(joined[:, -back:])
            if not past.empty:
                x, back = joined, 0
        if t == 1 and begins and back == kt - 1:  # the earlier taps see zeros only
            y = conv2d(x[:, 0], kernel[-1])[:, None]
        elif form == "conv3d":
            y = jax.lax.conv_general_dilated(
                x, kernel, (self.time_stride, 1, 1), ((back, 0), *space), dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
            )
        else:
            x = jnp.pad(x, ((0, 0), (back, 0), (0, 0), (0, 0), (0, 0)))
            steps = (x.shape[1] - kt) // self.time_stride + 1
            span = (steps - 1) * self.time_stride + 1
            taps = [x[:, i : i + span : self.time_stride].reshape(b * steps, *x.shape[2:]) for i in range(kt)]
            if form == "concat":
                joined = jnp.concatenate(taps, axis=-1) if kt > 1 else taps[0]
                y = conv2d(joined, kernel.transpose(1, 2, 0, 3, 4).reshape(kh, kw, -1, kernel.shape[-1]))
            else:
                y = sum(conv2d(tap, kernel[i]) for i, tap in enumerate(taps))
            y = y.reshape(b, steps, *y.shape[1:])
        return y + self.bias[...].astype(x.dtype)


class FrameConv(nnx.Module):
    """A 2-D convolution on every frame: the strided one that halves a side, or the one after nearest doubling."""

    def __init__(self, cin: int, cout: int, *, up: bool, rngs: nnx.Rngs):
        bound = math.sqrt(3) / math.sqrt(9 * cin)
        self.kernel = nnx.Param(jax.random.uniform(rngs.params(), (3, 3, cin, cout), minval=-bound, maxval=bound))
        self.bias = nnx.Param(jnp.zeros(cout))
        self.up = up

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t y x d"]:
        b, t = x.shape[:2]
        kernel = self.kernel[...].astype(x.dtype)
        frames = x.reshape(b * t, *x.shape[2:])
        y = doubled_conv(frames, kernel) if self.up else conv2d(frames, kernel, stride=2, padding=(0, 1))
        return y.reshape(b, t, *y.shape[1:]) + self.bias[...].astype(x.dtype)


def doubled_conv(x: Float[Array, "n h w c"], kernel: Float[Array, "3 3 c d"]) -> Float[Array, "n 2*h 2*w d"]:
    """Nearest doubling and a 3x3 convolution in one: each of the four output phases sees a 2x2 window of the small image,
    so 16 products stand for 36."""

    def phases(k, axis):  # three taps on the doubled grid = two taps on the small one, differently for even and odd
        a, b, c = (jax.lax.index_in_dim(k, i, axis, keepdims=True) for i in range(3))
        return jnp.concatenate([a, b + c], axis), jnp.concatenate([a + b, c], axis)

    kernels = [p for rows in phases(kernel, 0) for p in phases(rows, 1)]  # (even, even), (even, odd), (odd, even), ...
    y = conv2d(x, jnp.concatenate(kernels, axis=-1), padding=(1, 1))  # every 2x2 window of the padded image
    n, h, w, d = (*x.shape[:3], kernel.shape[-1])
    y = y.reshape(n, h + 1, w + 1, 4, d)
    phase = [y[:, r : r + h, c : c + w, 2 * r + c] for r in (0, 1) for c in (0, 1)]
    return jnp.stack(phase, axis=3).reshape(n, h, w, 2, 2, d).transpose(0, 1, 3, 2, 4, 5).reshape(n, 2 * h, 2 * w, d)


class RMSNorm(nnx.Module):
    """Unit length over channels, times sqrt(C) and a learned gain; in float32."""

    def __init__(self, channels: int):
        self.gamma = nnx.Param(jnp.ones(channels))

    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        y = x.astype(jnp.float32)
        y = y * jax.lax.rsqrt(jnp.maximum(jnp.sum(jnp.square(y), -1, keepdims=True), 1e-24)) * math.sqrt(x.shape[-1])
        return (y * self.gamma[...]).astype(x.dtype)


class ResBlock(nnx.Module):
    def __init__(self, cin: int, cout: int, *, config: VAEConfig, rngs: nnx.Rngs):
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        self.norm1, self.norm2 = RMSNorm(cin), RMSNorm(cout)
        self.conv1 = CausalConv3d(cin, cout, (3, 3, 3), **conv)
        self.conv2 = CausalConv3d(cout, cout, (3, 3, 3), scale=0.3, **conv)
        self.shortcut = CausalConv3d(cin, cout, (1, 1, 1), **conv) if cin != cout else None

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b t h w d"]:
        y = self.conv1(jax.nn.silu(self.norm1(x)), past)
        y = self.conv2(jax.nn.silu(self.norm2(y)), past)
        return y + (x if self.shortcut is None else self.shortcut(x))


class FrameAttention(nnx.Module):
    """Single-head self-attention inside each frame."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs):
        self.norm = RMSNorm(channels)
        self.qkv = nnx.Linear(channels, 3 * channels, rngs=rngs)
        self.out = nnx.Linear(channels, channels, rngs=rngs)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        b, t, h, w, c = x.shape
        q, k, v = jnp.split(self.qkv(self.norm(x)).reshape(b * t, h * w, 3 * c), 3, axis=-1)
        scores = jax.nn.softmax((q @ k.swapaxes(-1, -2)).astype(jnp.float32) / math.sqrt(c), axis=-1)
        return x + self.out((scores.astype(x.dtype) @ v).reshape(x.shape))


class Downsample(nnx.Module):
    """Halves the sides and, if `temporal`, the frames after the first."""

    def __init__(self, channels: int, temporal: bool, *, config: VAEConfig, rngs: nnx.Rngs):
        self.conv = FrameConv(channels, channels, up=False, rngs=rngs)
        conv = {"form": config.conv, "init": config.temporal_init, "time_padding": False, "time_stride": 2, "rngs": rngs}
        self.time_conv = CausalConv3d(channels, channels, (3, 1, 1), **conv) if temporal else None

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b s y x c"]:
        x = self.conv(x)
        if self.time_conv is None:
            return x
        first, before = x[:, :1], x  # of a clip's beginning: its first frame passes through
        if past is not None:
            if not past.empty:
                first, before = x[:, :0], jnp.concatenate([past.take(), x], axis=1)
            past.leave(x[:, -1:])
        return first if before.shape[1] == 1 else jnp.concatenate([first, self.time_conv(before)], axis=1)


class Upsample(nnx.Module):
    """Doubles the sides, halves the channels (Wan2.1) and, if `temporal`, doubles the frames after the first."""

    def __init__(self, channels: int, temporal: bool, *, config: VAEConfig, rngs: nnx.Rngs):
        self.conv = FrameConv(channels, channels if config.residual else channels // 2, up=True, rngs=rngs)
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1), **conv) if temporal else None

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b s y x d"]:
        if self.time_conv is None:
            return self.conv(x)
        if past is None:
            later = self._doubled(self.time_conv(x[:, 1:])) if x.shape[1] > 1 else x[:, 1:]
            return self.conv(jnp.concatenate([x[:, :1], later], axis=1))
        if past.empty:  # the convolution in time begins after the first frame, and does not see it
            past.leave(jnp.zeros_like(x, shape=(x.shape[0], 2, *x.shape[2:])))
            return self.conv(x)
        return self.conv(self._doubled(self.time_conv(x, past)))

    def _doubled(self, pairs: Float[Array, "b t h w d"]) -> Float[Array, "b 2*t h w c"]:
        return einops.rearrange(pairs, "b t h w (i c) -> b (t i) h w c", i=2)  # the first half is the even frame
