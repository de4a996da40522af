"""The named sizes of Wan's DiTs against the state dicts that are published."""

from __future__ import annotations

import functools
import gzip
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from stage_jax.errors import InputError
from stage_jax.models.dit import DiTConfig
from stage_jax.models.stacking import flat_params
from stage_jax.models.zoo import DITS, named
from stage_jax.weights.dit_table import DIT_TABLE, dit_shapes
from stage_jax.weights.table import Entry, Naming, match, torch_name
from tests.models.dits import abstract

FOLDER = Path(__file__).parents[1] / "data" / "state_dicts"
# Tensors and parameters, counted from the module definitions of the public code.
COUNTS = {
    "wan2.1-t2v-1.3b": (825, 1_418_996_800),
    "wan2.1-t2v-14b": (1095, 14_288_491_584),
    "wan2.1-i2v-14b": (1303, 16_394_878_784),
    "wan2.1-flf2v-14b": (1304, 16_395_536_704),
    "wan2.2-t2v-a14b": (1095, 14_288_491_584),
    "wan2.2-i2v-a14b": (1095, 14_288_901_184),
    "wan2.2-ti2v-5b": (825, 4_999_787_712),
}


def published(name: str) -> dict[str, tuple[int, ...]]:
    """Every entry and its shape, original naming."""
    text = gzip.decompress((FOLDER / f"{name.replace('-', '_')}.json.gz").read_bytes())
    return {key: tuple(shape) for key, shape in json.loads(text).items()}


@pytest.mark.parametrize("name", COUNTS)
def test_published_keys_and_shapes(name: str):
    """The table is a bijection between the state dict and the model at full size, shapes included; nothing is allocated."""
    expected, ours = published(name), dit_shapes(DITS[name])
    assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in ours.values())
    found = match(expected, DIT_TABLE, ours)
    assert found.keys() == ours.keys()
    assert {torch for _, torch in found.values()} == expected.keys()
    assert (len(ours), sum(math.prod(leaf.shape) for leaf in ours.values())) == COUNTS[name]


@pytest.mark.parametrize("name", [name for name in DITS if name.endswith("-tiny")])
def test_shapes_are_those_of_the_model(name: str):
    """The paths and shapes that are matched with state dicts are the parameters that the model has."""
    model = flat_params(abstract(replace(DITS[name], scan_layers=False)))
    assert {k: v.shape for k, v in dit_shapes(DITS[name]).items()} == {k: v.shape for k, v in model.items()}


@pytest.mark.parametrize("name", COUNTS)
def test_every_size_has_a_tiny_one_of_its_form(name: str):
    """The same entries but for their widths and the number of layers, the same channels of latents and images."""
    form, full = name.rpartition("-")[0], DITS[name]
    tiny = DITS[f"{form}-tiny"]
    kinds = [{re.sub(r"\.\d+\.", ".i.", path) for path in dit_shapes(config)} for config in (full, tiny)]
    assert kinds[0] == kinds[1]
    same = ("in_channels", "out_channels", "text_len", "image_positions", "kernels")
    assert [getattr(tiny, field) for field in same] == [getattr(full, field) for field in same]
    assert sum(math.prod(leaf.shape) for leaf in dit_shapes(tiny).values()) < 100_000


def _entries(name: str, naming: Naming) -> list[Entry]:
    """All entries whose pattern is this name."""
    return [entry for entry, pattern in _patterns(naming) if pattern.fullmatch(name)]


@functools.cache
def _patterns(naming: Naming) -> list[tuple[Entry, re.Pattern]]:
    return [(e, re.compile(r"\d+".join(map(re.escape, e.name(naming).split("{i}"))))) for e in DIT_TABLE]


def test_every_key_has_exactly_one_entry():
    """No entry catches what is another's, in either naming, and none is idle in the whole family."""
    used: set[Entry] = set()
    for key in set().union(*map(published, COUNTS)):
        (entry,) = _entries(key, "original")
        layer = re.search(r"blocks\.(\d+)", key)
        there = entry.name("diffusers").replace("{i}", layer[1] if layer else "")
        assert _entries(there, "diffusers") == [entry]
        used.add(entry)
    assert used == set(DIT_TABLE)


@pytest.mark.parametrize("naming", ["original", "diffusers"])
def test_made_up_keys_match_nothing(naming: Naming):
    """Patterns are anchored and dots are dots: a key with more at either end, or without a dot, is not known."""
    ours = dit_shapes(DITS["wan2.1-flf2v-tiny"])
    keys = [torch_name(path, DIT_TABLE, naming) for path in ours]
    made_up = {"", "anything", "blocks.0"}
    for key in keys:
        made_up |= {f"x{key}", f"model.{key}", f"{key}x", f"{key}.weight"}
        made_up |= {key.replace(".", "_", 1), key.replace(".1.", ".one.")}
    made_up -= set(keys)  # the names without a dot, or without a 1, that no change has changed
    with pytest.raises(InputError, match=f": {len(made_up) + len(ours)} entries do not fit"):
        match(dict.fromkeys(made_up, ()), DIT_TABLE, ours, naming=naming)


def test_unknown_names_are_answered_with_those_that_exist():
    sizes = {"a": DiTConfig(dim=8, ffn_dim=8, heads=1, layers=1)}
    assert named(sizes, "a") is sizes["a"]
    with pytest.raises(InputError, match="found 'b', expected one of a"):
        named(sizes, "b")
