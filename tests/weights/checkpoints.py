"""Checkpoints in Wan's own form, as several tests need them: written by the safetensors library, not by ours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file, save_file

from stage_jax.evaluation.goldens import Golden
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import Naming
from tests.goldens import load_golden

STEM = "diffusion_pytorch_model"
State = dict[str, np.ndarray]


def mixed_state(name: str = "dit_t2v") -> State:
    """The golden's weights as releases have them: bfloat16, but some entries float32, and here one float16."""
    golden = load_golden(name)
    state = {
        key: value.astype(jnp.bfloat16) if value.ndim == 2 or "norm" in key else value for key, value in golden.weights.items()
    }
    state["head.head.bias"] = golden.weights["head.head.bias"].astype(np.float16)
    return state


def config_json(golden: Golden) -> dict:
    """Wan's config.json of a golden."""
    unsaid = ("patch_size", "text_dim")
    return {"_class_name": "WanModel", "eps": 1e-6} | {k: v for k, v in golden.model.items() if k not in unsaid}


def write_original(
    folder: Path, state: Mapping[str, np.ndarray], *, shards: int = 1, index: bool = True, name: str = "dit_t2v"
) -> Path:
    """Wan's own folder; entries go to the shards in turn."""
    folder.mkdir(parents=True, exist_ok=True)
    numbered = [f"{STEM}-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]
    names = numbered if shards > 1 else [f"{STEM}.safetensors"]
    weight_map = {key: names[i % shards] for i, key in enumerate(state)}
    for file in names:
        save_file({key: state[key] for key in state if weight_map[key] == file}, folder / file)
    if shards > 1 and index:
        write_json(folder / f"{STEM}.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    write_json(folder / "config.json", config_json(load_golden(name)))
    return folder


def in_naming(state: Mapping[str, np.ndarray], naming: Naming) -> State:
    """Original names -> those of the naming."""
    renamed = {entry.torch: entry.name(naming) for entry in DIT_TABLE}
    layers = {str(i) for i in range(100)}

    def rename(key: str) -> str:
        parts = key.split(".")
        number = parts[1] if parts[0] == "blocks" and parts[1] in layers else ""
        pattern = key.replace(f"blocks.{number}.", "blocks.{i}.") if number else key
        return renamed[pattern].replace("{i}", number)

    return {rename(key): value for key, value in state.items()}


def write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def set_config(folder: Path, **said: object) -> Path:
    """Changes what config.json says."""
    write_json(folder / "config.json", json.loads((folder / "config.json").read_text()) | said)
    return folder


def read_all(files: Sequence[Path]) -> State:
    """Everything in these files, by the safetensors library."""
    state: State = {}
    for file in files:
        state |= load_file(file)
    return state


def assert_identical(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    """The same names, types, shapes and bits."""
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape), name
        assert found[name].tobytes() == np.ascontiguousarray(array).tobytes(), name
