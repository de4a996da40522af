"""Training STEP2 with its text encoder on pairs of stories (STAGE, equation 4: flow matching on the pair's tokens)."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import ClassVar

import jax
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.shots import ShotSource, pair_examples
from data_pipeline.stream import Stream
from data_pipeline.toy_cinema.captions import vocabulary
from stage_jax.losses.flow_matching import velocity_error
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Encoder, zero_padding
from stage_jax.models.work import Work, dit_work
from stage_jax.progress import Progress
from stage_jax.recipes.packing import memory_sizes
from stage_jax.recipes.step2 import Given, Memory, pair_sequence, pair_velocity
from stage_jax.recipes.step2_config import TINY
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.sampling.schedule import TIMESTEPS
from stage_jax.training.config import COUNT, GROUP, NAME, POSITIVE, SHARE, Rules
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import own_share
from stage_jax.training.tasks.flow import draw_noise, noised_rows, repeated, row_means
from stage_jax.weights.folder import copy_part, write_part

DIT, TEXT = "dit.", "umt5."  # prefixes of the two models' parameters


class STEP2Task:
    """A batch holds `data.batch` shots; each is seen with `copies` noises and levels, because its history and caption cost
    more than another noise (our choice). The text encoder is trained along: nobody has one for the toy's words."""

    needs: ClassVar[Rules] = {
        "text_encoder": NAME, "vae": NAME, "shift": POSITIVE, "copies": COUNT, "data.batch": COUNT, "export_dtype": NAME,
        "dropout": GROUP, "dropout.caption": SHARE, "dropout.history": SHARE, "dropout.pair": SHARE, "sampling": GROUP,
    }  # fmt: skip
    takes: ClassVar[Rules] = {}
    levels = (0.0, 1.0)

    def __init__(self, config: ConfigDict):
        self.config = config
        self.noise_levels = NoiseLevels(config.shift)
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
        return self._stream("train", self.config.dropout.to_dict(), self.config.seed)

    def held_out(self, split: str) -> Stream:
        return self._stream(split, dict.fromkeys(("caption", "history", "pair"), 0.0), 0)

    def _stream(self, split: str, dropout: dict[str, float], seed: int) -> Stream:
        data = self.config.data
        with Progress() as progress:
            report = functools.partial(progress.step, "encoding stories")
            cache = open_latents(Path(data.dir), split, "pairs", Path(self.config.vae), progress=report)
        slots = len(memory_sizes(TINY, *cache.latents.shape[-2:]))
        pairs = pair_examples(ShotSource(cache, self.tokenizer), slots, dropout, seed, data.get("history"))
        return Stream(batches(pairs, data.batch, own_share()), jax.device_put, workers=data.get("workers", 0))

    def draw(
        self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None
    ) -> dict[str, Array]:
        return batch | draw_noise(batch["pair"], key, self.noise_levels, sigma, self.config.copies)

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        copies = self.config.copies
        text = with_params(self.text, part_of(params, TEXT))
        caption = zero_padding(text(examples["ids"], examples["mask"]), examples["mask"])
        memory = Memory(examples["memory_latents"], examples["memory_valid"], examples["memory_hints"])
        caption, memory = jax.tree.map(lambda rows: repeated(rows, copies), (caption, memory))
        pair, sigma, target = noised_rows(examples["pair"], examples)
        sequence = pair_sequence(pair, TIMESTEPS * sigma, Given(caption, memory), TINY)
        velocity = pair_velocity(with_params(self.dit, part_of(params, DIT))(sequence), TINY)
        error = velocity_error(velocity, target)
        high = sigma > 0.9
        return row_means(error, copies), {"loss_high_noise": ((error * high).sum(), high.sum())}

    def work(self, batch: dict[str, Array]) -> Work:
        """The DiT's; the text encoder's is small beside it."""
        height, width = batch["pair"].shape[-2:]
        cells = sum(rows * columns for rows, columns in (*2 * [(height, width)], *memory_sizes(TINY, height, width)))
        return dit_work(self.sizes, self.config.copies * len(batch["pair"]), cells // math.prod(self.sizes.kernels[0]))

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
