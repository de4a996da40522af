"""Which part of a pipeline a checkpoint is, and of what size: every published encoder by its keys and shapes alone."""

from __future__ import annotations

import dataclasses
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIPConfig
from stage_jax.models.umt5 import UMT5Config
from stage_jax.models.vae_config import VAEConfig
from stage_jax.models.zoo import CLIPS, TEXT_ENCODERS, VAES
from stage_jax.weights.checkpoint import Checkpoint
from stage_jax.weights.formats import clip_config, umt5_config
from stage_jax.weights.header import Stored
from stage_jax.weights.kinds import KINDS, Asked, check_part, part_of
from stage_jax.weights.part import torch_part
from stage_jax.weights.table import torch_entries
from stage_jax.weights.vae_detect import vae_json
from tests.weights.pipelines import CLIP, UMT5, VAE, VAE22

PUBLISHED = Path(__file__).parents[1] / "data" / "state_dicts"
CLIP_FULL = CLIPS["xlm-roberta-large-vit-huge-14"]
SAID = {"vae": vae_json, "umt5": umt5_config, "clip": clip_config}


def checkpoint(shapes: Mapping[str, Any], config: Mapping[str, Any] | None = None) -> Checkpoint:
    """A checkpoint of which only the headers are there."""
    file = Path("any name")
    return Checkpoint(file, {n: Stored(file, n, tuple(s), "F32") for n, s in shapes.items()}, config or {}, (file,))


def named(part: str, config: Any, naming: str) -> dict[str, tuple[int, ...]]:
    """The torch shapes of a part in a naming."""
    shapes, table = KINDS[part].shapes(config), KINDS[part].table(config)
    torch = torch_entries(shapes, table, naming=naming)
    return {name: pieces[0][0].torch_shape(shapes[pieces[0][1]].shape) for name, pieces in torch.items()}


def found(shapes: Mapping[str, Any], said: Mapping[str, Any] | None = None) -> tuple[str, str | None, Any]:
    read = checkpoint(shapes, said)
    part = part_of(read)
    return part, *KINDS[part].detect(read, Asked())


@pytest.mark.parametrize("naming", ["original", "diffusers"])
@pytest.mark.parametrize(("part", "name", "config"), [
    ("vae", "wan2.1", VAES["wan2.1"]), ("vae", "wan2.2", VAES["wan2.2"]), ("umt5", "umt5-xxl", TEXT_ENCODERS["umt5-xxl"]),
])  # fmt: skip
def test_released_models(part: str, name: str, config: Any, naming: str):
    """Without a config.json, in both namings; nothing is allocated."""
    assert found(named(part, config, naming)) == (part, name, config)
    assert torch_part(checkpoint(named(part, config, naming)), part, Asked()).config == config


def test_clip_as_it_is_released():
    """Both towers in Wan's naming; the vision tower alone in transformers', with or without the projection."""
    name = "xlm-roberta-large-vit-huge-14"
    assert found(named("clip", CLIP_FULL, "original")) == ("clip", name, CLIP_FULL)
    for projection in (1024, None):
        config = dataclasses.replace(CLIP_FULL, text=None, projection=projection)
        assert found(named("clip", config, "diffusers")) == ("clip", None, config)
        assert found(named("clip", config, "original")) == ("clip", None, config)


@pytest.mark.parametrize(("file", "part"), [("umt5_xxl_encoder.json.gz", "umt5"), ("wan2.1_vae.json", "vae")])
def test_published_keys(file: str, part: str):
    data = (PUBLISHED / file).read_bytes()
    assert found(json.loads(gzip.decompress(data) if file.endswith("gz") else data))[0] == part


@pytest.mark.parametrize("naming", ["original", "diffusers"])
@pytest.mark.parametrize(("part", "config"), [
    ("vae", VAE), ("vae", VAE22), ("umt5", UMT5), ("clip", dataclasses.replace(CLIP, text=None)),
])  # fmt: skip
def test_other_sizes(part: str, config: Any, naming: str):
    assert found(named(part, config, naming)) == (part, None, config)


@pytest.mark.parametrize(("part", "config"), [
    ("vae", dataclasses.replace(VAE, latent_channels=3, latent_mean=(0.5,) * 3, latent_std=(2.0,) * 3)),
    ("umt5", dataclasses.replace(UMT5, max_distance=64, eps=1e-5)),
    ("clip", CLIPConfig(dim=28, ffn_dim=8, heads=7, layers=1, picture=28, patch=14, eps=1e-6)),
])  # fmt: skip
def test_what_only_config_json_says(part: str, config: Any):
    assert found(named(part, config, "diffusers"), SAID[part](config)) == (part, None, config)


@pytest.mark.parametrize(("part", "config", "message"), [
    ("vae", dataclasses.replace(VAE, latent_channels=3), "any name: nothing says mean and deviation of 3 channels of latents"),
    ("clip", CLIPConfig(dim=28, ffn_dim=8, heads=7, layers=1, picture=28), "any name: the weights do not say how many heads"),
    ("clip", dataclasses.replace(CLIP, text=dataclasses.replace(CLIP.text, dim=6)), "a text tower of 6 channels has"),
])  # fmt: skip
def test_what_nothing_says(part: str, config: Any, message: str):
    with pytest.raises(InputError, match=message):
        found(named(part, config, "original"))


@pytest.mark.parametrize("config", [VAE, UMT5, CLIP])
def test_an_entry_missing_is_named(config: VAEConfig | UMT5Config | CLIPConfig):
    """Whichever it is: those that sizes are read from, too."""
    part = next(part for part, kind in KINDS.items() if kind.config is type(config))
    shapes = named(part, config, "original")
    for name in [*shapes][:: max(1, len(shapes) // 12)]:
        with pytest.raises(InputError) as caught:
            torch_part(checkpoint({key: shape for key, shape in shapes.items() if key != name}), part, Asked())
        assert str(caught.value).startswith("any name: ") and "\n" not in str(caught.value)


def test_another_part_than_its_place_says():
    read = checkpoint(named("umt5", UMT5, "diffusers"))
    check_part(read, "umt5")
    words = r"any name: looks like a umT5 text encoder \(its entry .*\), expected "
    for part in ("dit", "dit_low", "vae", "clip"):
        with pytest.raises(InputError, match=words + KINDS[part].words):
            check_part(read, part)


@pytest.mark.parametrize("channels", [1 << 40, 5])
def test_a_vae_that_cannot_be(channels: int):
    shapes = named("vae", VAE, "original") | {"encoder.conv1.weight": (channels, 3, 3, 3, 3)}
    with pytest.raises(InputError, match="expected multiples of the first"):
        found(shapes)
