"""Training Wan's own tasks on cached latents and captions: text, image, and first and last frame to video."""

from __future__ import annotations

import dataclasses
import functools
import math
from pathlib import Path
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.image_tokens import open_image_tokens
from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.stream import Stream
from data_pipeline.texts import open_texts
from data_pipeline.videos import VideoSource, video_examples
from stage_jax.errors import InputError
from stage_jax.losses.flow_matching import velocity_error
from stage_jax.models import zoo
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.work import Work, dit_work
from stage_jax.progress import Progress
from stage_jax.recipes.tasks import TI2V_CHANNELS, takes_pictures
from stage_jax.recipes.wan import Given, flf2v_mask, i2v_mask, wan_velocity
from stage_jax.sampling.defaults import DEFAULTS
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.sampling.schedule import TIMESTEPS
from stage_jax.training.config import COUNT, GROUP, NAME, NUMBER, POSITIVE, SHARE, Rule, Rules, one_of
from stage_jax.training.init import read_init
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import onto_mesh, own_share
from stage_jax.training.tasks.flow import draw_noise, noised_rows
from stage_jax.weights.folder import copy_part, read_manifest, stream_params

FORMS = ("t2v", "i2v", "flf2v", "ti2v")
BOUNDARY = Rule(lambda value: SHARE.fits(value) and 0 < value < 1, "a noise level between 0 and 1")


class WanTask:
    """`config.task` is the form. VAE, text encoder, tokenizer and CLIP come, frozen, from the model folder `encoders`; the DiT
    starts from that of the model folder `init`, or anew. expert: which of Wan2.2's two is trained, on its own side of the
    boundary (of the release, unless the config says another)."""

    needs: ClassVar[Rules] = {
        "encoders": NAME, "shift": POSITIVE, "caption_dropout": SHARE, "data.batch": COUNT, "export_dtype": NAME,
    }  # fmt: skip
    takes: ClassVar[Rules] = {
        "density": one_of("uniform", "logit_normal"), "logit_mean": NUMBER, "logit_std": POSITIVE, "sampling": GROUP,
        "expert": one_of("high", "low"), "boundary": BOUNDARY, "data.stories": COUNT,
    }  # fmt: skip

    def __init__(self, config: ConfigDict):
        self.config, self.form = config, config.task
        self.encoders = Path(config.encoders)
        self.sizes = zoo.named(zoo.DITS, config.model)
        _check_form(self.form, config.model, self.sizes)
        compute = {"dtype": config.get("dtype") or self.sizes.dtype, "remat": bool(config.get("remat"))}
        self.dit = nnx.eval_shape(lambda: DiT(dataclasses.replace(self.sizes, **compute), nnx.Rngs(0)))
        self.part = "dit_low" if config.get("expert") == "low" else "dit"
        self.levels = self._range()
        density = config.get("density") or "uniform"
        mean, std = config.get("logit_mean") or 0.0, config.get("logit_std") or 1.0
        self.noise_levels = NoiseLevels(config.shift, density, mean, std, *self.levels)

    def init(self, key: PRNGKeyArray) -> Params:
        if self.config.get("init"):
            return read_init(Path(self.config.init), self.part, self.sizes, flat_params(self.dit))
        return flat_params(DiT(self.sizes, nnx.Rngs(key)))

    def batches(self) -> Stream:
        return self._stream("train", self.config.caption_dropout, self.config.seed)

    def held_out(self, split: str) -> Stream:
        return self._stream(split, 0.0, 0)

    def draw(
        self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None
    ) -> dict[str, Array]:
        return batch | draw_noise(self._target(batch["clip"]), key, self.noise_levels, sigma)

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        latent, sigma, target = noised_rows(self._target(examples["clip"]), examples)
        velocity = wan_velocity(with_params(self.dit, params), latent, TIMESTEPS * sigma, self._given(examples))
        return velocity_error(velocity, target), {}

    def work(self, batch: dict[str, Array]) -> Work:
        tokens = math.prod(batch["clip"].shape[2:]) // math.prod(self.sizes.kernels[0])
        rows = batch["image"].shape[1] if "image" in batch else 0
        return dit_work(self.sizes, len(batch["clip"]), tokens, rows)

    def export(self, params: Params, folder: Path) -> None:
        """A whole model folder: the DiT, what it was trained with, and the other expert if `init` has one."""
        sampling = self.config.get("sampling")
        facts: dict[str, Any] = {"model": self.config.model, "licence": "Apache-2.0"}
        facts |= {"sampling": sampling.to_dict()} if sampling else {}
        stream_params(folder, self.part, self.sizes, params, self.config.export_dtype, facts)
        have = read_manifest(self.encoders)["parts"]
        for part in ("vae", "umt5", "tokenizer", "clip"):
            if part == "tokenizer" or part in have:
                copy_part(self.encoders, folder, part)
        other = "dit" if self.part == "dit_low" else "dit_low"
        init = Path(self.config.get("init") or "")
        if self.config.get("expert") and (init / "model.json").is_file() and other in read_manifest(init)["parts"]:
            copy_part(init, folder, other)

    def _range(self) -> tuple[float, float]:
        expert, boundary = self.config.get("expert"), self.config.get("boundary")
        if expert is None:
            return 0.0, 1.0
        if boundary is None and self.config.model in DEFAULTS:
            boundary = DEFAULTS[self.config.model].boundary
        if boundary is None:
            raise InputError(f"config.boundary: not found, expected where the experts of {self.config.model} part")
        return (boundary, 1.0) if expert == "high" else (0.0, boundary)

    def _stream(self, split: str, caption_dropout: float, seed: int) -> Stream:
        data, folder = self.config.data, Path(self.config.data.dir)
        with Progress() as progress:
            report = functools.partial(progress.step, f"encoding stories of {split}")
            stories = {"stories": data.get("stories"), "progress": report}
            source = VideoSource(
                clips=open_latents(folder, split, "clips", self.encoders, **stories),
                captions=open_texts(folder, split, self.encoders, progress=report),
                last=self.form == "flf2v",
                condition=open_latents(folder, split, "first", self.encoders, **stories) if self.form == "i2v" else None,
                image=open_image_tokens(folder, split, self.encoders, progress=report) if self.sizes.image_dim else None,
            )
        self._check_caches(source)
        rows = batches(video_examples(source, caption_dropout, seed), data.batch, own_share(self.config))
        return Stream(rows, onto_mesh(self.config), workers=data.get("workers", 0))

    def _check_caches(self, source: VideoSource) -> None:
        """InputError where the encoders are not those that the model was made for."""
        channels, (rows, width) = source.clips.latents.shape[2], source.captions.embeddings.shape[1:]
        image = None if source.image is None else source.image.tokens.shape[-1]
        found, sizes = (channels, width, image), self.sizes
        expected = (sizes.out_channels, sizes.text_dim, sizes.image_dim)
        if found != expected or rows > sizes.text_len:
            raise InputError(
                f"{self.encoders}: makes latents of {channels} channels, captions of {rows} rows of {width}, image tokens of "
                f"{image}; {self.config.model} takes {expected[0]}, {sizes.text_len} of {expected[1]}, {expected[2]}"
            )

    def _target(self, clip: Float[Array, "b c t h w"]) -> Float[Array, "b c s h w"]:
        """What is noised: all of the clip, but for its first latent frame where that is given as it is."""
        return clip[:, :, 1:] if self.form == "ti2v" else clip

    def _given(self, examples: dict[str, Array]) -> Given:
        clip, caption = examples["clip"], examples["caption"].astype(jnp.float32)
        condition = first = None
        if self.form == "ti2v":
            first = clip[:, :, :1].astype(jnp.float32)
        if "condition" in examples:
            mask = i2v_mask if self.form == "i2v" else flf2v_mask
            given = mask(clip.shape, 4 * (clip.shape[2] - 1) + 1)
            condition = jnp.concatenate([given, examples["condition"].astype(jnp.float32)], axis=1)
        image = examples["image"].astype(jnp.float32) if "image" in examples else None
        return Given(caption, condition, image, first)


def _check_form(form: str, model: str, sizes: DiTConfig) -> None:
    """InputError unless the model can be trained in this form."""
    fits = {"t2v": not takes_pictures(sizes), "ti2v": sizes.out_channels == TI2V_CHANNELS}
    if sizes.image_dim is not None:
        fits |= {"i2v": sizes.image_positions is None, "flf2v": sizes.image_positions is not None}
    if not fits.get(form, takes_pictures(sizes)):
        raise InputError(f"config.model: {model} has not the inputs of {form}, config.task")
