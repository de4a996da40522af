"""Training STEP2 on pairs of stories (STAGE, equation 4: flow matching on the pair's tokens)."""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, PRNGKeyArray
from ml_collections import ConfigDict

from data_pipeline.cache import Latents
from data_pipeline.latents import open_latents
from data_pipeline.loader import batches
from data_pipeline.pictures import open_pictures
from data_pipeline.shots import ShotSource, pair_examples
from data_pipeline.stream import Stream
from data_pipeline.texts import open_texts
from stage_jax.errors import InputError
from stage_jax.losses.flow_matching import velocity_error
from stage_jax.models import zoo
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.umt5 import UMT5Config, UMT5Encoder, zero_padding
from stage_jax.models.work import Work, dit_work
from stage_jax.progress import Progress
from stage_jax.recipes.packing import memory_sizes
from stage_jax.recipes.step2 import Given, Memory, pair_sequence, pair_velocity
from stage_jax.recipes.step2_config import STEP2Config
from stage_jax.recipes.step2_folder import check_recipe
from stage_jax.sampling.noise_levels import NoiseLevels
from stage_jax.sampling.schedule import TIMESTEPS
from stage_jax.training.config import BELOW_ONE, COUNT, GROUP, NAME, POSITIVE, SHARE, Rules, one_of
from stage_jax.training.state import Params, Sums
from stage_jax.training.tasks import onto_mesh, own_share
from stage_jax.training.tasks.flow import draw_noise, noised_rows, repeated, row_means
from stage_jax.training.tasks.step2_start import RECORDS, check_size, start_dit, start_sizes, start_words, with_words
from stage_jax.weights.config_types import read_config
from stage_jax.weights.folder import copy_part, read_manifest, read_part, write_part

DIT, TEXT, REFERENCE = "dit.", "umt5.", "reference."  # prefixes of parameters, where there are more than a DiT's
TABLE = "token_embedding"  # of a text encoder: a row for every word
MEMORY_NOISE = 1  # folded into a step's key


class STEP2Task:
    """A batch holds `data.batch` shots; each is seen with `copies` noises and levels, because its history and caption cost
    more than another noise (our choice).

    recipe: fields of `STEP2Config` that are not the tiny model's. init: a model folder to start from, whose part is `step2`, or
    else Wan's `dit`. text_encoder: its name in the zoo where it is trained along, with words for tokens: nobody has one for
    them. Without it captions are embedded once by that of `init`. words: those of a level of the toy world, where `init` has
    none, or "records": those that `init` has, and those of the training captions that it does not. vae: the folder that it is
    in, else `init`."""

    needs: ClassVar[Rules] = {
        "shift": POSITIVE, "copies": COUNT, "data.batch": COUNT, "export_dtype": NAME, "sampling": GROUP,
        "dropout": GROUP, "dropout.caption": SHARE, "dropout.history": SHARE, "dropout.pair": SHARE,
    }  # fmt: skip
    takes: ClassVar[Rules] = {
        "text_encoder": NAME, "vae": NAME, "init": NAME, "recipe": GROUP, "dropout.frame": SHARE,
        "words": one_of("easy", "full", RECORDS), "text_len": COUNT,
        "data.crowded": BELOW_ONE,
    }  # fmt: skip
    levels = (0.0, 1.0)

    def __init__(self, config: ConfigDict):
        self.config = config
        self.noise_levels = NoiseLevels(config.shift)
        self.recipe = self.recipe_of(config)
        self.init_folder = Path(config.init) if config.get("init") else None
        for name in ("text_encoder", "vae"):
            if self.init_folder is None and not config.get(name):
                raise InputError(f"config.{name}: not found, expected a name, or a model folder as config.init")
        self.vae_folder = Path(config.vae) if config.get("vae") else self.init_folder
        self.sizes = start_sizes(zoo.named(zoo.DITS, config.model), self.recipe, self.init_folder)
        kept = {name: config[name] for name in ("dtype", "remat", "text_len") if config.get(name) is not None}
        self.sizes = dataclasses.replace(self.sizes, **kept)
        check_recipe(self.recipe, self.sizes, "config.recipe")
        self.dit = nnx.eval_shape(lambda: DiT(self.sizes, nnx.Rngs(0)))
        self.tokenizer, words = None, config.get("words") or "easy"
        if words == RECORDS:
            _check_learns_words(config)
        if config.get("text_encoder"):
            self.tokenizer = start_words(self.init_folder, words, self.sizes.text_len, Path(config.data.dir))
            encoder = zoo.named(zoo.TEXT_ENCODERS, config.text_encoder)
            self.text_sizes = dataclasses.replace(encoder, vocabulary=self.tokenizer.size)
            self.text = nnx.eval_shape(lambda: UMT5Encoder(self.text_sizes, nnx.Rngs(0)))
        else:
            self.part = "step2"  # what a LoRA of this task is for: its parameters are a DiT's alone

    def recipe_of(self, config: ConfigDict) -> STEP2Config:
        """The recipe that a config names. InputError for what is none."""
        said: dict[str, Any] = config.recipe.to_dict() if config.get("recipe") else {}
        return read_config(said, "config.recipe", STEP2Config)

    def init(self, key: PRNGKeyArray) -> Params:
        dit_key, text_key = jax.random.split(key)

        def fresh() -> Params:
            return flat_params(DiT(self.sizes, nnx.Rngs(dit_key)))

        folder = self.init_folder
        params = start_dit(folder, self.sizes, flat_params(self.dit), fresh) if folder else fresh()
        if not self.tokenizer:
            return params
        if folder and "umt5" in read_manifest(folder)["parts"]:
            text = dict(read_part(folder, "umt5", UMT5Config)[1])
            if self.config.get("words") == RECORDS:
                text[TABLE] = with_words(text[TABLE], self.tokenizer.size, text_key)
        else:
            text = flat_params(UMT5Encoder(self.text_sizes, nnx.Rngs(text_key)))
        return prefixed(DIT, params) | prefixed(TEXT, text)

    def dit_params(self, params: Params) -> Params:
        """Those of the DiT, by its own names."""
        if self.tokenizer:
            return part_of(params, DIT)
        return {name: value for name, value in params.items() if not name.startswith(REFERENCE)}

    def batches(self) -> Stream:
        return self._stream("train", self.config.dropout.to_dict(), self.config.seed, self.config.data.get("crowded") or 0.0)

    def held_out(self, split: str) -> Stream:
        return self._stream(split, dict.fromkeys(("caption", "history", "pair"), 0.0), 0)

    def source(self, split: str) -> ShotSource:
        """The shots of a split, with everything cached that the recipe asks for."""
        folder, recipe = Path(self.config.data.dir), self.recipe
        with Progress() as progress:
            cache = open_latents(
                folder, split, "pairs", self.vae_folder, progress=functools.partial(progress.step, "encoding stories")
            )
            check_size(cache.latents, tuple(self.config.sampling.size), self.vae_folder)
            report = functools.partial(progress.step, "embedding captions")
            captions = self.tokenizer or open_texts(folder, split, self.init_folder, recipe=recipe, progress=report)
            report = functools.partial(progress.step, "looking at pictures with CLIP")
            pictures = open_pictures(folder, split, self.init_folder or self.vae_folder, recipe, progress=report)
        return ShotSource(cache, captions, recipe, pictures)

    def _stream(self, split: str, dropout: dict[str, float], seed: int, crowded: float = 0.0) -> Stream:
        source, data = self.source(split), self.config.data
        pairs = pair_examples(source, self.slots(source.cache), dropout, seed, data.get("history"), crowded)
        rows = batches(pairs, data.batch, own_share(self.config))
        return Stream(rows, onto_mesh(self.config), workers=data.get("workers", 0))

    def slots(self, cache: Latents) -> int:
        return len(memory_sizes(self.recipe, *cache.latents.shape[-2:]))

    def draw(
        self, batch: dict[str, Array], key: PRNGKeyArray, sigma: Float[Array, " b"] | None = None
    ) -> dict[str, Array]:
        return batch | self._memory_noise(batch, key) | draw_noise(
            batch["pair"], key, self.noise_levels, sigma, self.config.copies
        )

    def _memory_noise(self, batch: dict[str, Array], key: PRNGKeyArray) -> dict[str, Array]:
        """Levels even in 0 to the recipe's, one per row; nothing where the recipe has no noise."""
        if not self.recipe.memory_noise:
            return {}
        latents = batch["memory_latents"]
        level_key, noise_key = jax.random.split(jax.random.fold_in(key, MEMORY_NOISE))
        level = self.recipe.memory_noise * jax.random.uniform(level_key, (len(latents),))
        return {"memory_level": level, "memory_noise": jax.random.normal(noise_key, latents.shape)}

    def given(self, params: Params, examples: dict[str, Array]) -> Given:
        """What the pair of every row is predicted from."""
        if self.tokenizer:
            text = with_params(self.text, part_of(params, TEXT))
            caption = zero_padding(text(examples["ids"], examples["mask"]), examples["mask"])
        else:
            caption = examples["caption"]
        memory = Memory(
            *(examples[f"memory_{name}"] for name in ("latents", "valid", "hints")),
            *(examples.get(f"memory_{name}") for name in ("noise", "level")),
        )
        return Given(caption, memory, examples.get("image_tokens"), examples.get("shown"))

    def velocity(
        self, dit: DiT, pair: Float[Array, "b 2 c h w"], sigma: Float[Array, " b"], given: Given
    ) -> Float[Array, "b 2 c h w"]:
        return pair_velocity(dit(pair_sequence(pair, TIMESTEPS * sigma, given, self.recipe)), self.recipe)

    def loss(self, params: Params, examples: dict[str, Array]) -> tuple[Float[Array, " b"], Sums]:
        copies = self.config.copies
        given = jax.tree.map(lambda rows: repeated(rows, copies), self.given(params, examples))
        pair, sigma, target = noised_rows(examples["pair"], examples)
        velocity = self.velocity(with_params(self.dit, self.dit_params(params)), pair, sigma, given)
        weight = None
        if given.shown is not None:  # a frame that is not there has no velocity
            weight = jnp.broadcast_to(given.shown[:, :, None, None, None], target.shape).astype(jnp.float32)
        error = velocity_error(velocity, target, weight)
        high = sigma > 0.9
        return row_means(error, copies), {"loss_high_noise": ((error * high).sum(), high.sum())}

    def work(self, batch: dict[str, Array]) -> Work:
        """The DiT's; the text encoder's is small beside it."""
        return self.pair_work(batch["pair"], self.config.copies)

    def pair_work(self, pair: Float[Array, "b 2 c h w"], passes: int) -> Work:
        height, width = pair.shape[-2:]
        cells = sum(map(math.prod, memory_sizes(self.recipe, height, width)))
        frames = 2 if self.recipe.joint else 1
        cells += frames * height * width
        return dit_work(self.sizes, passes * 2 // frames * len(pair), cells // math.prod(self.sizes.kernels[0]))

    def export(self, params: Params, folder: Path) -> None:
        """STEP2 with its recipe, its text encoder and tokenizer, and the VAE it was trained on, as one model folder."""
        dtype, sampling = self.config.export_dtype, self.config.sampling.to_dict()
        sampling |= {"recipe": dataclasses.asdict(self.recipe)}
        write_part(folder, "step2", self.sizes, self.dit_params(params), dtype=dtype, sampling=sampling)
        copy_part(self.vae_folder, folder, "vae")
        if self.tokenizer:
            write_part(folder, "umt5", self.text_sizes, part_of(params, TEXT), dtype=dtype)
            (folder / "tokenizer").mkdir(exist_ok=True)
            self.tokenizer.save(folder / "tokenizer")
            return
        clip = ("clip", "clip_tokenizer") if "clip" in read_manifest(self.init_folder)["parts"] else ()
        for part in ("umt5", "tokenizer", *clip):
            if (self.init_folder / part).is_dir():
                copy_part(self.init_folder, folder, part)


def _check_learns_words(config: ConfigDict) -> None:
    """InputError if the rows of new words would stay what they are drawn as."""
    if not config.get("text_encoder"):
        raise InputError("config.words: found 'records' without config.text_encoder, expected one that is trained along")
    if config.get("frozen") and re.search(config.frozen, TEXT + TABLE):
        found, expected = config.frozen, f"a pattern that is not found in {TEXT + TABLE}, which learns the words of the records"
        raise InputError(f"config.frozen: found {found!r}, expected {expected}")


def prefixed(prefix: str, params: Params) -> Params:
    return {prefix + name: value for name, value in params.items()}


def part_of(params: Params, prefix: str) -> Params:
    """The parameters under a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in params.items() if name.startswith(prefix)}
