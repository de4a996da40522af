"""Training the first/last-frame filler: Wan's FLF2V without CLIP, flow matching on whole clips."""

from __future__ import annotations

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.shots import ShotSource, clip_examples
from data_pipeline.stream import Stream
from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.progress import Progress
from stage_jax.recipes.wan import flf2v_mask, flf2v_sequence
from stage_jax.sampling.schedule import TIMESTEPS, sample_sigma
from stage_jax.training.state import Params
from stage_jax.training.tasks import own_share
from stage_jax.weights.folder import copy_part, read_part, write_part


class FillerTask:
    """A batch holds `data.batch` clips, each with `copies` noises. Text encoder and VAE come, frozen, from the model folder
    `step2` that STEP2's training wrote."""

    def __init__(self, config: ConfigDict):
        self.config = config
        self.folder = Path(config.step2)
        self.sizes = zoo.named(zoo.DITS, config.model)
        self.dit = nnx.eval_shape(lambda: DiT(self.sizes, nnx.Rngs(0)))
        text_sizes, text_params = read_part(self.folder, "umt5", UMT5Config)
        self.text = with_params(nnx.eval_shape(lambda: UMT5Encoder(text_sizes, nnx.Rngs(0))), text_params)

    def init(self, key: PRNGKeyArray) -> Params:
        return flat_params(DiT(self.sizes, nnx.Rngs(key)))

    def batches(self) -> Stream:
        data = self.config.data
        with Progress() as progress:
            report = functools.partial(progress.step, "encoding stories")
            cache = open_latents(Path(data.dir), "train", "clips", self.folder, stories=data.stories, progress=report)
        source = ShotSource(cache, WordTokenizer.load(self.folder / "tokenizer"))
        clips = clip_examples(source, self.config.caption_dropout, self.config.seed)
        return Stream(batches(clips, data.batch, own_share()), jax.device_put, workers=data.get("workers", 0))

    def loss(self, params: Params, batch: dict[str, Array], key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        clip, latent_condition = batch["clip"], batch["condition"]
        frames = 4 * (clip.shape[2] - 1) + 1
        condition = jnp.concatenate([flf2v_mask(clip.shape, frames), latent_condition], axis=1)
        caption = zero_padding(self.text(batch["ids"], batch["mask"]), batch["mask"])
        clip, condition, caption = jax.tree.map(
            lambda x: jnp.concatenate([x] * self.config.copies), (clip, condition, caption)
        )
        sigma_key, noise_key = jax.random.split(key)
        sigma = sample_sigma(sigma_key, clip.shape[0], self.config.shift)
        noise = jax.random.normal(noise_key, clip.shape)
        sequence = flf2v_sequence(noised(clip, noise, sigma), condition, TIMESTEPS * sigma, caption)
        velocity = with_params(self.dit, params)(sequence).outputs[0]
        error = velocity_error(velocity, velocity_target(clip, noise))
        return error.mean(), {}

    def export(self, params: Params, folder: Path) -> None:
        """The filler with everything of `step2`: a whole model folder, ready for `stage film --model`."""
        sampling = self.config.sampling.to_dict()
        write_part(folder, "dit", self.sizes, params, dtype=self.config.export_dtype, sampling=sampling)
        for part in ("step2", "umt5", "vae", "tokenizer"):
            copy_part(self.folder, folder, part)
