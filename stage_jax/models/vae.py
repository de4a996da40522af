"""The causal video VAE of Wan2.1: 4n+1 frames become n+1 latent frames of an eighth of the side.

Everything is computed without the reference's chunks: causal convolutions with zero left context give the same numbers
(the chunks are a memory device only). A still is a clip of one frame. Pictures are channels last, `[B, T, H, W, 3]` in
[-1, 1]; latents are `[B, C, T, H, W]`, as the token sequence takes them.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from stage_jax.models.conv import conv2d

ConvForm = Literal["conv3d", "concat", "sum"]

# The published statistics of the Wan2.1 latents (16 channels).
WAN21_LATENT_MEAN = (
    -0.7571, -0.7089, -0.9113, 0.1075, -0.1745, 0.9653, -0.1517, 1.5508,
    0.4134, -0.0715, 0.5517, -0.3632, -0.1922, -0.9497, 0.2503, -0.2921,
)  # fmt: skip
WAN21_LATENT_STD = (
    2.8184, 1.4541, 2.3275, 2.6558, 1.2196, 1.7708, 2.6052, 2.0743,
    3.2687, 2.1526, 2.8652, 1.5579, 1.6382, 1.1253, 2.8251, 1.9160,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of a Wan2.1 VAE; the defaults are the published one (126,892,531 parameters)."""

    base: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2  # per stage of the encoder; the decoder has one more
    latent_channels: int = 16
    temporal_down: tuple[bool, ...] = (False, True, True)
    latent_mean: tuple[float, ...] = WAN21_LATENT_MEAN
    latent_std: tuple[float, ...] = WAN21_LATENT_STD
    conv: ConvForm | None = None
    """How causal 3-D convolutions run; None picks by device: `conv3d` on TPU and GPU, time taps on the CPU, where XLA's
    3-D convolution is 2 to 4 times slower. `concat` is the faster one to train, `sum` the leaner one to infer. All agree."""
    temporal_init: float = 1.0
    """Scale of the earlier time taps at initialisation (our choice; 0.2 trains the tiny VAE faster)."""

    @property
    def spatial_stride(self) -> int:
        """Pixels per latent cell, along a side."""
        return 2 ** (len(self.multipliers) - 1)

    @property
    def temporal_stride(self) -> int:
        """Frames per latent frame, after the first."""
        return 2 ** sum(self.temporal_down)

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip of `frames` pictures, which must be 1 + a multiple of the temporal stride."""
        if frames < 1 or (frames - 1) % self.temporal_stride:
            raise ValueError(f"a clip of {frames} frames: expected 1 + a multiple of {self.temporal_stride}")
        return 1 + (frames - 1) // self.temporal_stride


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

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b s h w d"]:
        kernel = self.kernel[...].astype(x.dtype)
        kt, kh, kw = kernel.shape[:3]
        b, t = x.shape[:2]
        space = ((kh // 2, kh // 2), (kw // 2, kw // 2))
        form = self.form or ("concat" if jax.default_backend() == "cpu" else "conv3d")
        back = kt - 1 if self.time_padding else 0
        if t == 1 and back == kt - 1:  # the earlier taps see zeros only
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

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w d"]:
        y = self.conv1(jax.nn.silu(self.norm1(x)))
        y = self.conv2(jax.nn.silu(self.norm2(y)))
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

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b s y x c"]:
        x = self.conv(x)
        if self.time_conv is None or x.shape[1] == 1:
            return x
        return jnp.concatenate([x[:, :1], self.time_conv(x)], axis=1)


class Upsample(nnx.Module):
    """Doubles the sides, halves the channels and, if `temporal`, doubles the frames after the first."""

    def __init__(self, channels: int, temporal: bool, *, config: VAEConfig, rngs: nnx.Rngs):
        self.conv = FrameConv(channels, channels // 2, up=True, rngs=rngs)
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        self.time_conv = CausalConv3d(channels, 2 * channels, (3, 1, 1), **conv) if temporal else None

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b s y x d"]:
        if self.time_conv is not None and x.shape[1] > 1:
            b, t, h, w, c = x.shape
            later = self.time_conv(x[:, 1:]).reshape(b, t - 1, h, w, 2, c)  # the first half is the even frame
            later = later.transpose(0, 1, 4, 2, 3, 5).reshape(b, 2 * (t - 1), h, w, c)
            x = jnp.concatenate([x[:, :1], later], axis=1)
        return self.conv(x)


class Stage(nnx.Module):
    """Residual blocks at one size, and the change to the next."""

    def __init__(self, widths: list[int], resample: Downsample | Upsample | None, *, config: VAEConfig, rngs: nnx.Rngs):
        self.blocks = nnx.List(
            [ResBlock(a, b, config=config, rngs=rngs) for a, b in itertools.pairwise(widths)]
        )
        self.resample = resample

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b s y x d"]:
        for block in self.blocks:
            x = block(x)
        return x if self.resample is None else self.resample(x)


class Middle(nnx.Module):
    def __init__(self, channels: int, *, config: VAEConfig, rngs: nnx.Rngs):
        self.block1 = ResBlock(channels, channels, config=config, rngs=rngs)
        self.attention = FrameAttention(channels, rngs=rngs)
        self.block2 = ResBlock(channels, channels, config=config, rngs=rngs)

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b t h w c"]:
        return self.block2(self.attention(self.block1(x)))


class Coder(nnx.Module):
    """What encoder and decoder share: a first convolution, stages, a head; the middle stands at the smallest size."""

    def __init__(self, cin: int, cout: int, config: VAEConfig, *, decode: bool, rngs: nnx.Rngs):
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        levels = len(config.multipliers)
        if decode:
            widths = [config.base * m for m in (config.multipliers[-1], *config.multipliers[::-1])]
            temporal = config.temporal_down[::-1]
        else:
            widths = [config.base * m for m in (1, *config.multipliers)]
            temporal = config.temporal_down
        self.conv_in = CausalConv3d(cin, widths[0], (3, 3, 3), **conv)
        stages = []
        for level, (a, b) in enumerate(itertools.pairwise(widths)):
            first = a // 2 if decode and level else a  # the upsampling before has halved the channels
            blocks = config.res_blocks + decode
            resample = None
            if level < levels - 1:
                kind = Upsample if decode else Downsample
                resample = kind(b, temporal[level], config=config, rngs=rngs)
            stages.append(Stage([first, *[b] * blocks], resample, config=config, rngs=rngs))
        self.stages = nnx.List(stages)
        self.middle = Middle(widths[0] if decode else widths[-1], config=config, rngs=rngs)
        self.norm_out = RMSNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], cout, (3, 3, 3), **conv)
        self.decode = decode

    def __call__(self, x: Float[Array, "b t h w c"]) -> Float[Array, "b s y x d"]:
        x = self.conv_in(x)
        if self.decode:
            x = self.middle(x)
        for stage in self.stages:
            x = stage(x)
        if not self.decode:
            x = self.middle(x)
        return self.conv_out(jax.nn.silu(self.norm_out(x)))


class VAE(nnx.Module):
    """The Wan2.1 video autoencoder. `encode` and `decode` speak of normalised latents, as the DiT sees them."""

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        z = config.latent_channels
        self.config = config
        self.encoder = Coder(3, 2 * z, config, decode=False, rngs=rngs)
        self.quant = CausalConv3d(2 * z, 2 * z, (1, 1, 1), **conv)
        self.post_quant = CausalConv3d(z, z, (1, 1, 1), **conv)
        self.decoder = Coder(z, 3, config, decode=True, rngs=rngs)

    def moments(
        self, video: Float[Array, "b t h w 3"]
    ) -> tuple[Float[Array, "b s y x c"], Float[Array, "b s y x c"]]:
        """Mean and log-variance of the posterior, channels last, not normalised: what VAE training needs."""
        self.config.latent_frames(video.shape[1])
        mean, log_variance = jnp.split(self.quant(self.encoder(video)), 2, axis=-1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def reconstruct(self, latent: Float[Array, "b s y x c"]) -> Float[Array, "b t h w 3"]:
        """Pictures of latents that are channels last and not normalised; not clipped."""
        return self.decoder(self.post_quant(latent))

    def encode(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b c s y x"]:
        """Normalised posterior mean of clips in [-1, 1]; t = 1 + a multiple of 4, or 1 for a still. Never sampled."""
        mean, _ = self.moments(video)
        return jnp.moveaxis((mean - jnp.asarray(self.config.latent_mean)) / jnp.asarray(self.config.latent_std), -1, 1)

    def decode(self, latent: Float[Array, "b c s y x"]) -> Float[Array, "b t h w 3"]:
        """Pictures in [-1, 1] of normalised latents."""
        latent = jnp.moveaxis(latent, 1, -1) * jnp.asarray(self.config.latent_std) + jnp.asarray(self.config.latent_mean)
        return jnp.clip(self.reconstruct(latent), -1.0, 1.0)
