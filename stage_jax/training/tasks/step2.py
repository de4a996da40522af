"""Training STEP2 with its text encoder on pairs of stories (STAGE, equation 4: flow matching on the pair's tokens)."""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.shots import ShotSource, pair_examples
from data_pipeline.stream import Stream
from data_pipeline.toy_cinema.captions import vocabulary
from stage_jax.losses.flow_matching import noised, velocity_error, velocity_target
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Encoder, zero_padding
from stage_jax.progress import Progress
from stage_jax.recipes.step2 import Memory, memory_slots, pair_sequence, pair_velocity
from stage_jax.sampling.schedule import TIMESTEPS, sample_sigma
from stage_jax.training.state import Params
from stage_jax.training.tasks import own_share
from stage_jax.weights.folder import copy_part, write_part

DIT, TEXT = "dit.", "umt5."  # prefixes of the two models' parameters


class STEP2Task:
    """A batch holds `data.batch` shots; each is seen with `copies` noises and levels, because its history and caption cost
    more than another noise (our choice). The text encoder is trained along: nobody has one for the toy's words."""

    def __init__(self, config: ConfigDict):
        self.config = config
        self.tokenizer = WordTokenizer(vocabulary()[2:], zoo.named(zoo.DITS, config.model).text_len)
        self.sizes = zoo.named(zoo.DITS, config.model)
        self.text_sizes = dataclasses.replace(
            zoo.named(zoo.TEXT_ENCODERS, config.text_encoder), vocabulary=self.tokenizer.size
        )
        self.dit = nnx.eval_shape(lambda: DiT(self.sizes, nnx.Rngs(0)))
        self.text = nnx.eval_shape(lambda: UMT5Encoder(self.text_sizes, nnx.Rngs(0)))

    def init(self, key: PRNGKeyArray) -> Params:
        dit_key, text_key = jax.random.split(key)
        dit = flat_params(DiT(self.sizes, nnx.Rngs(dit_key)))
        text = flat_params(UMT5Encoder(self.text_sizes, nnx.Rngs(text_key)))
        return {DIT + name: value for name, value in dit.items()} | {TEXT + name: v for name, v in text.items()}

    def batches(self) -> Stream:
        data = self.config.data
        with Progress() as progress:
            report = functools.partial(progress.step, "encoding stories")
            cache = open_latents(Path(data.dir), "train", "pairs", Path(self.config.vae), progress=report)
        slots = memory_slots(*cache.latents.shape[-2:])
        source = ShotSource(cache, self.tokenizer)
        pairs = pair_examples(source, slots, self.config.dropout.to_dict(), self.config.seed, data.get("history"))
        return Stream(batches(pairs, data.batch, own_share()), jax.device_put, workers=data.get("workers", 0))

    def loss(self, params: Params, batch: dict[str, Array], key: PRNGKeyArray) -> tuple[Array, dict[str, Array]]:
        copies = self.config.copies
        text = with_params(self.text, part_of(params, TEXT))
        caption = zero_padding(text(batch["ids"], batch["mask"]), batch["mask"])
        memory = Memory(batch["memory_latents"], batch["memory_valid"], batch["memory_hints"])
        pair, caption, memory = jax.tree.map(
            lambda x: jnp.concatenate([x] * copies), (batch["pair"], caption, memory)
        )
        sigma_key, noise_key = jax.random.split(key)
        sigma = sample_sigma(sigma_key, pair.shape[0], self.config.shift)
        noise = jax.random.normal(noise_key, pair.shape)
        sequence = pair_sequence(noised(pair, noise, sigma), TIMESTEPS * sigma, caption, memory)
        velocity = pair_velocity(with_params(self.dit, part_of(params, DIT))(sequence))
        error = velocity_error(velocity, velocity_target(pair, noise))
        high = sigma > 0.9
        return error.mean(), {"loss_high_noise": (error * high).sum() / jnp.maximum(high.sum(), 1)}

    def export(self, params: Params, folder: Path) -> None:
        """STEP2, its text encoder and tokenizer, and the VAE it was trained on, as one model folder."""
        dtype, sampling = self.config.export_dtype, self.config.sampling.to_dict()
        write_part(folder, "step2", self.sizes, part_of(params, DIT), dtype=dtype, sampling=sampling)
        write_part(folder, "umt5", self.text_sizes, part_of(params, TEXT), dtype=dtype)
        (folder / "tokenizer").mkdir(exist_ok=True)
        self.tokenizer.save(folder / "tokenizer")
        copy_part(Path(self.config.vae), folder, "vae")


def part_of(params: Params, prefix: str) -> Params:
    """The parameters under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
