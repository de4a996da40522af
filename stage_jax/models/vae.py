"""The causal video VAEs of Wan2.1 and Wan2.2: 4n+1 frames become n+1 latent frames of an eighth or a sixteenth of the side.

A still is a clip of one frame. `encode` and `decode` go through a clip in chunks of one latent frame, so that their memory
does not grow with it; `moments` and `reconstruct` take it whole, which is the faster way to train. Causal convolutions make
both the same. Pictures are channels last, `[B, T, H, W, 3]` in [-1, 1]; latents are `[B, C, T, H, W]`, as the token sequence
takes them. With H sharded over a mesh axis, XLA exchanges the rows that convolutions share and gathers for the attention of
the smallest size alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Shaped

from stage_jax.models.vae_chunks import Past, Take, frames_of, in_chunks, kept_after
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.vae_layers import CausalConv3d, Downsample, FrameAttention, ResBlock, RMSNorm, Upsample
from stage_jax.models.vae_shortcuts import average_down, join_patches, repeat_up, split_patches


class Stage(nnx.Module):
    """Residual blocks at one size, the change to the next and, if `shortcut`, the change without parameters beside it."""

    def __init__(
        self, widths: list[int], resample: Downsample | Upsample | None, *, config: VAEConfig, shortcut: bool, rngs: nnx.Rngs
    ):
        self.blocks = nnx.List([ResBlock(a, b, config=config, rngs=rngs) for a, b in itertools.pairwise(widths)])
        self.resample = resample
        self.channels, self.shortcut = widths[-1], shortcut

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b s y x d"]:
        given = x
        for block in self.blocks:
            x = block(x, past)
        if self.resample is not None:
            x = self.resample(x, past)
        return x + self._beside(given, first=past is None or past.empty) if self.shortcut else x

    def _beside(self, x: Float[Array, "b t h w c"], *, first: bool) -> Float[Array, "b s y x d"]:
        if isinstance(self.resample, Upsample):
            return repeat_up(x, self.channels, 1 if self.resample.time_conv is None else 2, 2, first=first)
        halved = self.resample is not None
        in_time = halved and self.resample.time_conv is not None
        return average_down(x, self.channels, 2 if in_time else 1, 2 if halved else 1)


class Middle(nnx.Module):
    def __init__(self, channels: int, *, config: VAEConfig, rngs: nnx.Rngs):
        self.block1 = ResBlock(channels, channels, config=config, rngs=rngs)
        self.attention = FrameAttention(channels, rngs=rngs)
        self.block2 = ResBlock(channels, channels, config=config, rngs=rngs)

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b t h w c"]:
        return self.block2(self.attention(self.block1(x, past)), past)


class Coder(nnx.Module):
    """What encoder and decoder share: a first convolution, stages, a head; the middle stands at the smallest size."""

    def __init__(self, cin: int, cout: int, config: VAEConfig, *, decode: bool, rngs: nnx.Rngs):
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        base = config.decoder_base or config.base if decode else config.base
        if decode:
            widths = [base * m for m in (config.multipliers[-1], *config.multipliers[::-1])]
            temporal = config.temporal_down[::-1]
        else:
            widths = [base * m for m in (1, *config.multipliers)]
            temporal = config.temporal_down
        self.conv_in = CausalConv3d(cin, widths[0], (3, 3, 3), **conv)
        stages = []
        for level, (a, b) in enumerate(itertools.pairwise(widths)):
            halved = decode and level and not config.residual  # by the upsampling before
            last = level == len(config.multipliers) - 1
            kind = Upsample if decode else Downsample
            resample = None if last else kind(b, temporal[level], config=config, rngs=rngs)
            between = [b] * (config.res_blocks + decode)
            shortcut = config.residual and not (decode and last)
            stages.append(Stage([a // 2 if halved else a, *between], resample, config=config, shortcut=shortcut, rngs=rngs))
        self.stages = nnx.List(stages)
        self.middle = Middle(widths[0] if decode else widths[-1], config=config, rngs=rngs)
        self.norm_out = RMSNorm(widths[-1])
        self.conv_out = CausalConv3d(widths[-1], cout, (3, 3, 3), **conv)
        self.decode = decode

    def __call__(self, x: Float[Array, "b t h w c"], past: Past | None = None) -> Float[Array, "b s y x d"]:
        x = self.conv_in(x, past)
        if self.decode:
            x = self.middle(x, past)
        for stage in self.stages:
            x = stage(x, past)
        if not self.decode:
            x = self.middle(x, past)
        return self.conv_out(jax.nn.silu(self.norm_out(x)), past)


def clipped(pictures: Float[Array, "*n 3"]) -> Float[Array, "*n 3"]:
    return jnp.clip(pictures, -1.0, 1.0)


class VAE(nnx.Module):
    """A Wan video autoencoder. `encode` and `decode` speak of normalised latents, as the DiT sees them."""

    def __init__(self, config: VAEConfig, rngs: nnx.Rngs):
        conv = {"form": config.conv, "init": config.temporal_init, "rngs": rngs}
        z, colours = config.latent_channels, 3 * config.patch**2
        self.config = config
        self.encoder = Coder(colours, 2 * z, config, decode=False, rngs=rngs)
        self.quant = CausalConv3d(2 * z, 2 * z, (1, 1, 1), **conv)
        self.post_quant = CausalConv3d(z, z, (1, 1, 1), **conv)
        self.decoder = Coder(z, colours, config, decode=True, rngs=rngs)

    def moments(
        self, video: Float[Array, "b t h w 3"]
    ) -> tuple[Float[Array, "b s y x c"], Float[Array, "b s y x c"]]:
        """Mean and log-variance of the posterior, channels last, not normalised: what VAE training needs. Whole clips."""
        self.config.latent_frames(video.shape[1])
        mean, log_variance = jnp.split(self._encoded(video), 2, axis=-1)
        return mean, jnp.clip(log_variance, -30.0, 20.0)

    def reconstruct(self, latent: Float[Array, "b s y x c"]) -> Float[Array, "b t h w 3"]:
        """Pictures of latents that are channels last and not normalised; not clipped. Whole clips."""
        return self._decoded(latent)

    def encode(self, video: Float[Array, "b t h w 3"]) -> Float[Array, "b c s y x"]:
        """Normalised posterior mean of clips in [-1, 1]; t = 1 + a multiple of 4, or 1 for a still. Never sampled."""
        return self.encode_frames(frames_of(video), video.shape[1])

    def encode_frames(self, take: Take, frames: int) -> Float[Array, "b c s y x"]:
        """`encode` for clips that need not be there as a whole. take: (first, how many) -> these frames."""
        z, stride = self.config.latent_channels, self.config.temporal_stride
        chunks = self.config.latent_frames(frames) - 1
        mean = in_chunks(lambda chunk, past: self._encoded(chunk, past)[..., :z], take, chunks, stride, 1)
        return jnp.moveaxis((mean - jnp.asarray(self.config.latent_mean)) / jnp.asarray(self.config.latent_std), -1, 1)

    def decode(
        self, latent: Float[Array, "b c s y x"], finish: Callable[[Array], Array] = clipped
    ) -> Shaped[Array, "b t h w 3"]:
        """Pictures of normalised latents, in [-1, 1]. finish: what is made of every chunk's pictures instead of clipping."""
        latent = self._as_decoded(latent)
        return in_chunks(
            lambda chunk, past: finish(self._decoded(chunk, past)),
            frames_of(latent), latent.shape[1] - 1, 1, self.config.temporal_stride,
        )  # fmt: skip

    def before_next(self, latent: Float[Array, "b c s y x"]) -> list[Array]:
        """What the decoder has kept of a clip's first latent frames when the next one comes."""
        latent = self._as_decoded(latent)
        return kept_after(self._decoded, frames_of(latent), latent.shape[1] - 1, 1)

    def decode_next(self, latent: Float[Array, "b c 1 y x"], kept: list[Array]) -> Float[Array, "b t h w 3"]:
        """The pictures of one more latent frame, not clipped, after those that left `kept` (`before_next`)."""
        return self._decoded(self._as_decoded(latent), Past(kept))

    def _as_decoded(self, latent: Float[Array, "b c s y x"]) -> Float[Array, "b s y x c"]:
        """Normalised latents as the decoder takes them."""
        return jnp.moveaxis(latent, 1, -1) * jnp.asarray(self.config.latent_std) + jnp.asarray(self.config.latent_mean)

    def _encoded(self, video: Float[Array, "b t h w 3"], past: Past | None = None) -> Float[Array, "b s y x d"]:
        return self.quant(self.encoder(split_patches(video, self.config.patch), past))

    def _decoded(self, latent: Float[Array, "b s y x c"], past: Past | None = None) -> Float[Array, "b t h w 3"]:
        return join_patches(self.decoder(self.post_quant(latent), past), self.config.patch)
