"""Sizes of Wan's video autoencoders, and the statistics of their latents."""

from __future__ import annotations

import dataclasses
from typing import Literal

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


# The same of Wan2.2's own VAE (48 channels).
WAN22_LATENT_MEAN = (
    -0.2289, -0.0052, -0.1323, -0.2339, -0.2799, 0.0174, 0.1838, 0.1557, -0.1382, 0.0542, 0.2813, 0.0891,
    0.1570, -0.0098, 0.0375, -0.1825, -0.2246, -0.1207, -0.0698, 0.5109, 0.2665, -0.2108, -0.2158, 0.2502,
    -0.2055, -0.0322, 0.1109, 0.1567, -0.0729, 0.0899, -0.2799, -0.1230, -0.0313, -0.1649, 0.0117, 0.0723,
    -0.2839, -0.2083, -0.0520, 0.3748, 0.0152, 0.1957, 0.1433, -0.2944, 0.3573, -0.0548, -0.1681, -0.0667,
)  # fmt: skip
WAN22_LATENT_STD = (
    0.4765, 1.0364, 0.4514, 1.1677, 0.5313, 0.4990, 0.4818, 0.5013, 0.8158, 1.0344, 0.5894, 1.0901,
    0.6885, 0.6165, 0.8454, 0.4978, 0.5759, 0.3523, 0.7135, 0.6804, 0.5833, 1.4146, 0.8986, 0.5659,
    0.7069, 0.5338, 0.4889, 0.4917, 0.4069, 0.4999, 0.6866, 0.4093, 0.5709, 0.6065, 0.6415, 0.4944,
    0.5726, 1.2042, 0.5458, 1.6887, 0.3971, 1.0600, 0.3943, 0.5537, 0.5444, 0.4089, 0.7468, 0.7744,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class VAEConfig:
    """Sizes of a VAE; the defaults are those of Wan2.1 (126,892,531 parameters), Wan2.2's are in the zoo."""

    base: int = 96
    multipliers: tuple[int, ...] = (1, 2, 4, 4)
    res_blocks: int = 2  # per stage of the encoder; the decoder has one more
    latent_channels: int = 16
    decoder_base: int | None = None  # of the decoder where it is wider than the encoder, as in Wan2.2
    patch: int = 1  # pixels of a side that one cell of the first layer takes in as channels: 2 in Wan2.2
    residual: bool = False
    """Wan2.2: every stage adds what averaging or repeating alone would make of its input (`vae_shortcuts`), and the changes
    of size keep the channels."""
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
        return self.patch * 2 ** (len(self.multipliers) - 1)

    @property
    def temporal_stride(self) -> int:
        """Frames per latent frame, after the first."""
        return 2 ** sum(self.temporal_down)

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip of `frames` pictures, which must be 1 + a multiple of the temporal stride."""
        if frames < 1 or (frames - 1) % self.temporal_stride:
            raise ValueError(f"a clip of {frames} frames: expected 1 + a multiple of {self.temporal_stride}")
        return 1 + (frames - 1) // self.temporal_stride
