"""A model folder of random weights, at the smallest sizes, that knows a dozen words."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
from flax import nnx

from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Encoder
from stage_jax.models.vae import VAE
from stage_jax.story.types import Character, Location, Scene, Shot, Story
from stage_jax.weights.folder import write_part
from tests.goldens import drawn
from tests.training import sizes

VOCABULARY = ("mia", "tom", "walks", "left", "right", "on", "the", "beach", "wood", ".", ",")
TEXT = dataclasses.replace(sizes.TEXT, vocabulary=len(VOCABULARY) + 2)
FRAMES = 5
SAMPLING = {"steps": 2, "shift": 2.5, "guidance": 2.5, "size": (sizes.SIDE, sizes.SIDE)}


def write_models(folder: Path, *, seed: int = 0) -> Path:
    """All parts of a model for films; random, so that nothing is zero as at a start."""

    def params(model_type: type, config: object) -> dict[str, jax.Array]:
        model = drawn(nnx.eval_shape(lambda: model_type(config, nnx.Rngs(0))))
        return {name: (1 + 0.1 * seed) * value for name, value in flat_params(model).items()}

    write_part(folder, "vae", sizes.VAE, params(VAE, sizes.VAE))
    write_part(folder, "umt5", TEXT, params(UMT5Encoder, TEXT))
    write_part(folder, "step2", sizes.STEP2, params(DiT, sizes.STEP2), sampling=SAMPLING)
    write_part(folder, "dit", sizes.FILLER, params(DiT, sizes.FILLER), sampling=SAMPLING | {"guidance": 1.0, "frames": FRAMES})
    (folder / "tokenizer").mkdir()
    WordTokenizer(VOCABULARY, sizes.STEP2.text_len).save(folder / "tokenizer")
    return folder


def make_story(*, last: str = "Tom walks left on the beach.") -> Story:
    """Two scenes, three shots."""
    return Story(
        title="A walk",
        characters=(Character("mia", "Mia"), Character("tom", "Tom")),
        locations=(Location("beach", "Beach"), Location("wood", "Wood")),
        scenes=(
            Scene("SC01", "EXT. BEACH - DAY", "beach", (
                Shot("SH010", "Mia walks right on the beach.", characters=("mia",)),
                Shot("SH020", "Mia, Tom on the beach.", characters=("mia", "tom"), seed=7),
            )),
            Scene("SC02", "EXT. WOOD - DAY", "wood", (Shot("SH010", last, characters=("tom",)),)),
        ),
    )  # fmt: skip
