"""Training the tiny VAE: reconstruction of stills and of clips, with a whisper of KL."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from data_pipeline.loader import batches, clip_windows, stills
from data_pipeline.records import open_records
from data_pipeline.stream import Stream
from stage_jax.models import zoo
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.vae import VAE
from stage_jax.training.state import Params
from stage_jax.training.tasks import own_share
from stage_jax.weights.folder import write_part


class VAETask:
    """Batches are uint8 [B, T, H, W, 3]: `data.clips` of `data.window` frames, or `data.stills` pictures; the share of clip
    steps is `data.clip_share`. Loss: L1 + MSE + kl * KL of the posterior (our choice)."""

    def __init__(self, config: ConfigDict):
        self.config = config
        self.sizes = zoo.named(zoo.VAES, config.model)
        self.model = nnx.eval_shape(lambda: VAE(self.sizes, nnx.Rngs(0)))

    def init(self, key: PRNGKeyArray) -> Params:
        return flat_params(VAE(self.sizes, nnx.Rngs(key)))

    def batches(self) -> Stream:
        data = self.config.data
        clips, frames = (open_records(Path(data.dir), "train", (kind, "shots")) for kind in ("clips", "frames"))
        share = own_share()
        parts = [
            batches(clip_windows(clips, data.window, self.config.seed), data.clips, share),
            batches(stills(frames, self.config.seed + 1), data.stills, share),
        ]
        mixed = grain.MapDataset.mix(parts, weights=[data.clip_share, 1 - data.clip_share])
        return Stream(mixed, jax.device_put, workers=data.get("workers", 0), threads=2, ahead=16)

    def loss(
        self, params: Params, batch: UInt8[Array, "b t h w 3"], key: PRNGKeyArray
    ) -> tuple[Array, dict[str, Array]]:
        model = with_params(self.model, params)
        video = batch.astype(jnp.float32) / 127.5 - 1
        mean, log_variance = model.moments(video)
        noise = jax.random.normal(key, mean.shape)
        error = model.reconstruct(mean + jnp.exp(log_variance / 2) * noise) - video
        l1, mse = jnp.mean(jnp.abs(error)), jnp.mean(jnp.square(error))
        kl = 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance) / video.size
        metrics = {"l1": l1, "psnr": -10 * jnp.log10(mse / 4), "kl": kl}
        return l1 + mse + self.config.kl * kl, metrics

    def export(self, params: Params, folder: Path) -> None:
        """The VAE with the statistics of its latents over training stills and clips, so that they are near N(0, 1)."""
        encode = jax.jit(lambda video: with_params(self.model, params).moments(video)[0])
        records = open_records(Path(self.config.data.dir), "train")
        frames = clip_windows(records, self.config.data.frames, self.config.seed).batch(16)
        pictures = (frames[i].astype(np.float32) / 127.5 - 1 for i in range(self.config.data.statistics // 16))
        latents = np.concatenate([np.asarray(encode(p)).reshape(-1, self.sizes.latent_channels) for p in pictures])
        sizes = dataclasses.replace(
            self.sizes,
            latent_mean=tuple(float(v) for v in latents.mean(0)),
            latent_std=tuple(float(v) for v in latents.std(0)),
        )
        write_part(folder, "vae", sizes, params, dtype=self.config.export_dtype)
