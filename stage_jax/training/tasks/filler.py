"""Training the first/last-frame filler: Wan's FLF2V without CLIP, flow matching on whole clips."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.shots import ShotSource, clip_examples
from data_pipeline.stream import Stream
from stage_jax.losses.flow_matching import velocity_error
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.models.work import Work, dit_work
from stage_jax.progress import Progress
from stage_jax.recipes.wan import flf2v_mask, flf2v_sequence
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.sampling.schedule import TIMESTEPS
from stage_jax.training.config import COUNT, GROUP, NAME, POSITIVE, SHARE, Rules
from stage_jax.training.init import read_init
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import onto_mesh, own_share
from stage_jax.training.tasks.flow import draw_noise, noised_rows, repeated, row_means
from stage_jax.weights.folder import copy_part, read_part, write_part


class FillerTask:
    """A batch holds `data.batch` clips, each with `copies` noises. Text encoder and VAE come, frozen, from the model folder
    `step2` that STEP2's training wrote. It starts anew, or from the filler of the model folder `init`."""

    needs: ClassVar[Rules] = {
        "step2": NAME, "shift": POSITIVE, "copies": COUNT, "caption_dropout": SHARE, "data.batch": COUNT,
        "data.stories": COUNT, "export_dtype": NAME, "sampling": GROUP,
    }  # fmt: skip
    takes: ClassVar[Rules] = {}
    levels = (0.0, 1.0)

    def __init__(self, config: ConfigDict):
        self.config = config
        self.noise_levels = NoiseLevels(config.shift)
        self.folder = Path(config.step2)
        self.sizes = zoo.named(zoo.DITS, config.model)
        self.dit = nnx.eval_shape(lambda: DiT(self.sizes, nnx.Rngs(0)))
        text_sizes, text_params = read_part(self.folder, "umt5", UMT5Config)
        self.text = with_params(nnx.eval_shape(lambda: UMT5Encoder(text_sizes, nnx.Rngs(0))), text_params)

    def init(self, key: PRNGKeyArray) -> Params:
        if self.config.get("init"):
            return read_init(Path(self.config.init), "dit", self.sizes, flat_params(self.dit))
        return flat_params(DiT(self.sizes, nnx.Rngs(key)))

    def batches(self) -> Stream:
        return self._stream("train", self.config.caption_dropout, self.config.seed)

    def held_out(self, split: str) -> Stream:
        return self._stream(split, 0.0, 0)

    def _stream(self, split: str, caption_dropout: float, seed: int) -> Stream:
        data = self.config.data
        with Progress() as progress:
            report = functools.partial(progress.step, "encoding stories")
            cache = open_latents(Path(data.dir), split, "clips", self.folder, stories=data.stories, progress=report)
        source = ShotSource(cache, WordTokenizer.load(self.folder / "tokenizer"))
        clips = clip_examples(source, caption_dropout, seed)
        rows = batches(clips, data.batch, own_share(self.config))
        return Stream(rows, onto_mesh(self.config), workers=data.get("workers", 0))

    def draw(
        self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None
    ) -> dict[str, Array]:
        return batch | draw_noise(batch["clip"], key, self.noise_levels, sigma, self.config.copies)

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        copies, shape = self.config.copies, examples["clip"].shape
        condition = jnp.concatenate([flf2v_mask(shape, 4 * (shape[2] - 1) + 1), examples["condition"]], axis=1)
        caption = zero_padding(self.text(examples["ids"], examples["mask"]), examples["mask"])
        condition, caption = repeated(condition, copies), repeated(caption, copies)
        clip, sigma, target = noised_rows(examples["clip"], examples)
        sequence = flf2v_sequence(clip, condition, TIMESTEPS * sigma, caption)
        velocity = with_params(self.dit, params)(sequence).outputs[0]
        return row_means(velocity_error(velocity, target), copies), {}

    def work(self, batch: dict[str, Array]) -> Work:
        cells = math.prod(batch["clip"].shape[2:])
        return dit_work(self.sizes, self.config.copies * len(batch["clip"]), cells // math.prod(self.sizes.kernels[0]))

    def export(self, params: Params, folder: Path) -> None:
        """The filler with everything of `step2`: a whole model folder, ready for `stage film --model`."""
        sampling = self.config.sampling.to_dict()
        write_part(folder, "dit", self.sizes, params, dtype=self.config.export_dtype, sampling=sampling)
        for part in ("step2", "umt5", "vae", "tokenizer"):
            copy_part(self.folder, folder, part)
