"""CLIP's table covers the published state dict exactly, and every array comes back as it was in both namings."""

from __future__ import annotations

import gzip
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import save_file

from stage_jax.errors import InputError
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.stacking import flat_params
from stage_jax.models.zoo import CLIPS
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.clip_table import clip_shapes, clip_table
from stage_jax.weights.folder import part_config, read_part, write_part
from stage_jax.weights.stream import load_params
from stage_jax.weights.table import Naming, from_torch, likely_naming, match, to_torch, torch_entries
from tests.weights.checkpoints import State, assert_identical

PUBLISHED = Path(__file__).parents[1] / "data" / "state_dicts" / "clip_vit_h14_vision.json.gz"
FULL = CLIPS["xlm-roberta-large-vit-huge-14"]
TEXT = CLIPTextConfig(vocabulary=7, dim=6, ffn_dim=5, heads=2, layers=2, positions=9)
BOTH = CLIPConfig(dim=4, ffn_dim=10, heads=2, layers=2, picture=28, projection=3, text=TEXT)
VISION = replace(BOTH, text=None)
BARE = replace(VISION, projection=None)  # as diffusers keeps it


def random(config: CLIPConfig) -> State:
    """Our parameters; the norms in float32, the rest in half precision, as checkpoints mix them."""
    rng = np.random.default_rng(0)
    shapes = clip_shapes(config)
    kinds = {path: np.float32 if "norm" in path else np.float16 for path in shapes}
    return {path: np.asarray(rng.standard_normal(leaf.shape), kinds[path]) for path, leaf in shapes.items()}


def test_published_keys_and_shapes():
    """The vision tower's table is a bijection with the published entries, shapes included; nothing is allocated. In the file
    of both towers they stand behind ``visual.``."""
    listed = json.loads(gzip.decompress(PUBLISHED.read_bytes()))
    published = {f"visual.{name}": tuple(shape) for name, shape in listed.items()}
    config = replace(FULL, text=None)
    ours, table = clip_shapes(config), clip_table(config)
    found = match(published, table, ours)
    assert found.keys() == ours.keys() and {name for _, name in found.values()} == published.keys()
    assert torch_entries(ours, table).keys() == published.keys()
    assert sum(map(math.prod, published.values())) == sum(math.prod(leaf.shape) for leaf in ours.values()) == 632_076_800


def test_the_whole_file():
    """Both towers: 24 layers of XLM-R large, an embedding of 250,002 tokens, 514 positions and one type, a head, the scale."""
    ours, table = clip_shapes(FULL), clip_table(FULL)
    names = torch_entries(ours, table)
    text = {name: pieces for name, pieces in names.items() if not name.startswith("visual.")}
    assert len(text) == 24 * 16 + 8
    dim, ffn = 1024, 4096
    layer = 4 * (dim * dim + dim) + 2 * dim * ffn + ffn + dim + 4 * dim
    expected = (250_002 + 514 + 1) * dim + 2 * dim + 24 * layer + 2 * dim * dim + 1
    assert sum(math.prod(ours[path].shape) for pieces in text.values() for _, path in pieces) == expected
    assert len(names) == 392 + len(text)


@pytest.mark.parametrize("config", [BOTH, VISION, BARE], ids=["both", "vision", "bare"])
def test_shapes_are_those_of_the_model(config: CLIPConfig):
    text = None if config.text is None else replace(config.text, scan_layers=False)
    model = flat_params(nnx.eval_shape(lambda: CLIP(replace(config, scan_layers=False, text=text), nnx.Rngs(0))))
    assert {path: leaf.shape for path, leaf in clip_shapes(config).items()} == {k: v.shape for k, v in model.items()}


@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_every_pattern_is_one_array(naming: Naming):
    """A torch pattern has one entry, or three pieces; a path of ours has one entry in a naming."""
    entries = [entry for entry in clip_table(BOTH) if entry.only in (None, naming)]
    aliases = {entry.name(naming) for entry in entries if entry.alias}
    entries = [entry for entry in entries if not entry.alias]
    prefix = "vision_model."
    assert aliases == {e.name(naming).removeprefix(prefix) for e in entries if e.name(naming).startswith(prefix)}
    several = {name: count for name, count in Counter(entry.name(naming) for entry in entries).items() if count > 1}
    fused = {f"visual.transformer.{{i}}.attn.to_qkv.{leaf}": 3 for leaf in ("weight", "bias")}
    assert several == (fused if naming == "original" else {})
    assert max(Counter(entry.ours for entry in entries).values()) == 1


@pytest.mark.parametrize(
    ("config", "naming"),
    [(BOTH, "original"), (VISION, "original"), (VISION, "diffusers"), (BARE, "diffusers")],
    ids=["both", "vision", "transformers", "diffusers"],
)
def test_there_and_back(config: CLIPConfig, naming: Naming):
    """Ours -> theirs -> ours -> theirs: the same names, types and bits."""
    ours, table = random(config), clip_table(config)
    theirs = to_torch(ours, table, naming=naming)
    assert likely_naming(theirs, table) == (naming, len(theirs))
    back = from_torch(theirs, table, ours, naming=naming)
    assert_identical(back, ours)
    assert_identical(to_torch(back, table, naming=naming), theirs)


def test_fused_and_transposed():
    """[q; k; v] in the original; its projection is multiplied from the right, transformers' is a Linear."""
    ours, table = random(VISION), clip_table(VISION)
    original, transformers = (to_torch(ours, table, naming=naming) for naming in ("original", "diffusers"))
    for leaf in ("weight", "bias"):
        pieces = [transformers[f"vision_model.encoder.layers.1.self_attn.{name}_proj.{leaf}"] for name in "qkv"]
        np.testing.assert_array_equal(original[f"visual.transformer.1.attn.to_qkv.{leaf}"], np.concatenate(pieces))
    np.testing.assert_array_equal(original["visual.head"], transformers["visual_projection.weight"].T)
    assert original["visual.cls_embedding"].shape == (1, 1, 4) and original["visual.pos_embedding"].shape == (1, 5, 4)
    assert transformers["vision_model.embeddings.class_embedding"].shape == (4,)


def test_what_is_not_asked_for_is_passed_over_by_name():
    """The text tower and the projection of a whole file, transformers' position_ids; nothing else."""
    whole = to_torch(random(BOTH), clip_table(BOTH))
    bare = clip_shapes(BARE)
    found = from_torch(whole, clip_table(BARE), bare)
    assert_identical(found, {path: array for path, array in random(BOTH).items() if path in bare})
    with pytest.raises(InputError, match=r"1 entries do not fit: textual.blocks.0.attn.z.weight is not known$"):
        from_torch(whole | {"textual.blocks.0.attn.z.weight": np.zeros(1)}, clip_table(BARE), bare)
    theirs = to_torch(found, clip_table(BARE), naming="diffusers")
    older = theirs | {"vision_model.embeddings.position_ids": np.arange(5)[None]}
    assert_identical(from_torch(older, clip_table(BARE), bare, naming="diffusers"), found)


def test_a_file_without_text_has_none():
    vision = to_torch(random(VISION), clip_table(VISION))
    missing = len(clip_shapes(BOTH)) - len(clip_shapes(VISION))
    with pytest.raises(InputError, match=f"{missing} entries do not fit: log_scale is missing; textual.blocks.0.ffn.2.bias is"):
        from_torch(vision, clip_table(BOTH), clip_shapes(BOTH))
    with pytest.raises(InputError, match=f"no torch name for log_scale, text.*and {missing - 30} more"):
        to_torch(random(BOTH), clip_table(BOTH), naming="diffusers")


@pytest.mark.parametrize("config", [BOTH, BARE], ids=["both", "bare"])
def test_streamed_and_in_a_model_folder(tmp_path: Path, config: CLIPConfig):
    """From a file onto stacks of both towers; with its configuration, the text's in it, into a model folder and back."""
    ours = random(config)
    save_file(to_torch(ours, clip_table(config)), tmp_path / "clip.safetensors")
    stacked = flat_params(nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0))))
    found = load_params(open_checkpoint(tmp_path / "clip.safetensors"), clip_table(config), stacked)
    assert {path: leaf.shape for path, leaf in found.items()} == {path: leaf.shape for path, leaf in stacked.items()}
    np.testing.assert_array_equal(found["vision.blocks.key.kernel"][1], ours["vision.blocks.1.key.kernel"].astype(np.float32))
    write_part(tmp_path / "model", "clip", config, found)
    read, params = read_part(tmp_path / "model", "clip", CLIPConfig)
    assert read == config == part_config(tmp_path / "model", "clip", CLIPConfig)
    assert_identical({k: np.asarray(v) for k, v in params.items()}, {k: v.astype(jnp.float32) for k, v in ours.items()})


def test_a_text_that_cannot_be(tmp_path: Path):
    """The configuration in a configuration is checked as the outer one is."""
    write_part(tmp_path, "clip", BOTH, {"vision.class_token": jnp.zeros(4)})
    manifest = json.loads((tmp_path / "model.json").read_text())
    for change, message in (
        ({"heads": 0}, "text.heads: found 0"),
        ({"depth": 1}, "text: unknown depth"),
        ({"heads": 5}, "text: CLIP's"),
    ):
        said = manifest["parts"]["clip"]["config"]
        edited = said | {"text": said["text"] | change}
        parts = {"clip": manifest["parts"]["clip"] | {"config": edited}}
        (tmp_path / "model.json").write_text(json.dumps(manifest | {"parts": parts}))
        with pytest.raises(InputError, match=rf"parts.clip.config.{message}") as caught:
            part_config(tmp_path, "clip", CLIPConfig)
        assert "\n" not in str(caught.value)
