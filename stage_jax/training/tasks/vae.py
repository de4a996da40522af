"""Training a VAE, or fine-tuning one: reconstruction of stills and of clips, with a whisper of KL."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import grain
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray, UInt8
from ml_collections import ConfigDict

from data_pipeline.loader import batches, clip_windows, stills
from data_pipeline.records import open_records
from data_pipeline.stream import Stream
from stage_jax.errors import InputError
from stage_jax.models import zoo
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.vae import VAE
from stage_jax.training.config import COUNT, NAME, NUMBER, SHARE, Rules
from stage_jax.training.init import check_sizes, open_init
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import onto_mesh, own_share
from stage_jax.weights.folder import write_part

STATISTICS = ("latent_mean", "latent_std")


class VAETask:
    """Batches are uint8 [B, T, H, W, 3]: `data.clips` of `data.window` frames, or `data.stills` pictures; the share of clip
    steps is `data.clip_share`. Loss: L1 + MSE + kl * KL of the posterior (our choice), or with `decibels` above 0 in place of
    L1 + MSE so many times the mean of ln MSE of each frame, which a frame's PSNR is: for the end of a training, when a frame
    that is nearly right is to count like any other. It starts anew, or from the VAE of the model folder `init`;
    `frozen = "^(encoder|quant)"` then trains the decoder alone, for which latents stay what they are."""

    needs: ClassVar[Rules] = {
        "kl": NUMBER, "export_dtype": NAME, "data.clips": COUNT, "data.window": COUNT, "data.stills": COUNT,
        "data.clip_share": SHARE, "data.frames": COUNT, "data.statistics": COUNT,
    }  # fmt: skip
    takes: ClassVar[Rules] = {"decibels": NUMBER}
    levels = (0.0, 0.0)

    def __init__(self, config: ConfigDict):
        self.config = config
        self.sizes = zoo.named(zoo.VAES, config.model)
        self.start = None
        if config.get("init"):
            self.start = open_init(Path(config.init), "vae")
            check_sizes(Path(config.init), self.start.config, self.sizes, *STATISTICS)
            self.sizes = self.start.config
        self.model = nnx.eval_shape(lambda: VAE(self.sizes, nnx.Rngs(0)))

    def init(self, key: PRNGKeyArray) -> Params:
        if self.start is not None:
            return self.start.params(flat_params(self.model))
        return flat_params(VAE(self.sizes, nnx.Rngs(key)))

    def batches(self) -> Stream:
        return self._stream("train", self.config.seed)

    def held_out(self, split: str) -> Stream:
        return self._stream(split, 0)

    def _stream(self, split: str, seed: int) -> Stream:
        data, share = self.config.data, own_share(self.config)
        clips, frames = (open_records(Path(data.dir), split, (kind, "shots")) for kind in ("clips", "frames"))
        wanted = {"window": data.clip_share > 0, "frames": self.start is None}  # those at the end of a training
        for name in (name for name, is_wanted in wanted.items() if is_wanted and data[name] > clips.metadata["clip_frames"]):
            expected = f"at most the {clips.metadata['clip_frames']} frames of a clip in {data.dir}"
            raise InputError(f"config.data.{name}: found {data[name]}, expected {expected}")
        parts = [
            batches(clip_windows(clips, data.window, seed), data.clips, share),
            batches(stills(frames, seed + 1), data.stills, share),
        ]
        mixed = grain.MapDataset.mix(parts, weights=[data.clip_share, 1 - data.clip_share])
        return Stream(mixed, onto_mesh(self.config), workers=data.get("workers", 0), threads=2, ahead=16)

    def draw(
        self, batch: UInt8[Array, "b t h w 3"], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None
    ) -> dict[str, Array]:
        """The noise that latents are sampled with; there are no levels of it."""
        z, stride = self.sizes.latent_channels, self.sizes.spatial_stride
        frames, height, width = self.sizes.latent_frames(batch.shape[1]), *(side // stride for side in batch.shape[2:4])
        return {"video": batch, "noise": jax.random.normal(key, (len(batch), frames, height, width, z))}

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        model = with_params(self.model, params)
        video = examples["video"].astype(jnp.float32) / 127.5 - 1
        mean, log_variance = model.moments(video)
        error = model.reconstruct(mean + jnp.exp(log_variance / 2) * examples["noise"]) - video
        l1, mse = _row_means(jnp.abs(error)), _row_means(jnp.square(error))
        divergence = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)
        kl = _row_means(divergence) * (mean.size / video.size)  # a value of the pictures', as the errors are
        values = {"l1": l1, "psnr": -10 * jnp.log10(mse / 4), "kl": kl}
        off = l1 + mse
        if weight := self.config.get("decibels", 0.0):
            off = weight * jnp.log(jnp.square(error).mean((2, 3, 4))).mean(1)
        return off + self.config.kl * kl, {name: (v.sum(), jnp.float32(v.size)) for name, v in values.items()}

    def work(self, batch: UInt8[Array, "b t h w 3"]) -> None:
        """Not counted."""

    def export(self, params: Params, folder: Path) -> None:
        """The VAE with the statistics of its latents over training stills and clips, so that they are near N(0, 1); one that
        was fine-tuned keeps those that it had, by which others know its latents."""
        if self.start is not None:
            write_part(folder, "vae", self.sizes, params, dtype=self.config.export_dtype)
            return
        encode = jax.jit(lambda video: with_params(self.model, params).moments(video)[0])
        records = open_records(Path(self.config.data.dir), "train")
        frames = clip_windows(records, self.config.data.frames, self.config.seed).batch(16)
        pictures = (frames[i].astype(np.float32) / 127.5 - 1 for i in range(-(-self.config.data.statistics // 16)))
        latents = np.concatenate([np.asarray(encode(p)).reshape(-1, self.sizes.latent_channels) for p in pictures])
        sizes = dataclasses.replace(
            self.sizes,
            latent_mean=tuple(float(v) for v in latents.mean(0)),
            latent_std=tuple(float(v) for v in latents.std(0)),
        )
        write_part(folder, "vae", sizes, params, dtype=self.config.export_dtype)


def _row_means(values: Float[Array, "b *n"]) -> Float[Array, " b"]:
    return values.reshape(len(values), -1).mean(-1)
