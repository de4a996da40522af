"""A STEP2 as training leaves it, of random weights, and the configs that go on from it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from ml_collections import ConfigDict

from data_pipeline.toy_cinema.captions import vocabulary
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.models.tokenizer import WordTokenizer
from stage_jax.models.umt5 import UMT5Encoder
from stage_jax.recipes.step2_config import TINY
from stage_jax.weights.folder import copy_part, write_part
from tests.goldens import drawn
from tests.training import sizes

SAMPLING = {"steps": 2, "shift": 2.5, "guidance": 2.5, "size": [sizes.SIDE, sizes.SIDE]}


def write_sft(folder: Path, vae: Path) -> Path:
    tokenizer = WordTokenizer(vocabulary()[2:], sizes.STEP2.text_len)
    text = dataclasses.replace(sizes.TEXT, vocabulary=tokenizer.size)
    recipe = {"recipe": dataclasses.asdict(TINY)}
    for part, config, make, sampling in (
        ("step2", sizes.STEP2, DiT, SAMPLING | recipe), ("umt5", text, UMT5Encoder, None)
    ):  # fmt: skip
        model = drawn(nnx.eval_shape(lambda make=make, config=config: make(config, nnx.Rngs(0))))
        write_part(folder, part, config, jax.tree.map(jnp.asarray, flat_params(model)), sampling=sampling)
    copy_part(vae, folder, "vae")
    (folder / "tokenizer").mkdir()
    tokenizer.save(folder / "tokenizer")
    return folder


def dpo_config(records: Path, sft: Path, steps: int, **changes: Any) -> ConfigDict:
    optimizer = sizes.OPTIMIZER | {"name": "adamw", "warmup": 0}
    config = sizes.common(steps) | {
        "name": "dpo", "task": "dpo", "init": str(sft), "text_encoder": "test", "frozen": r"^(reference|umt5)\.",
        "beta": 2000.0, "sft": 0.5, "shift": 2.5, "copies": 1, "dropout": {"caption": 0.0, "history": 0.0, "pair": 0.0},
        "export_dtype": "float32", "sampling": SAMPLING, "optimizer": optimizer,
        "data": {"dir": str(records), "batch": 2, "preferences": "interior"},
    }  # fmt: skip
    return ConfigDict(config | changes)
