"""Every kind of recipe on meshes of eight devices and in two processes: losses and parameters as on one device.

`tests/parallel/test_training.py` has the loop over 20 steps, with a DiT alone; here are what recipes add to it: convolutions,
text encoders, memory, a reference beside the policy, adapters, and caches that processes make together.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.generate import videos
from tests.parallel.processes import finish, start, start_two
from tests.training import sizes
from tests.training.step2_folders import dpo_config, write_sft

WORKER = "tests.training.mesh_worker"
STEPS = 5
MESHES = {"one": {"data": 1}, "fsdp": {"fsdp": 8}, "mixed": {"data": 2, "fsdp": 2, "tensor": 2}, "two": {"data": 2, "fsdp": 2}}
SGD = {
    "name": "sgd", "lr": 0.05, "warmup": 0, "flat": 1.0, "final": 1.0, "weight_decay": 0.01, "clip": 1.0, "b2": 0.98,
    "momentum": 0.9,
}  # fmt: skip
RECIPES = ("vae", "step2", "filler", "dpo", "lora")
ROWS = 8
SMALL = {"vae": 4096, "lora": 512}  # bytes; below it are sides of 3 and 6, which eight devices do not divide


def configs(records: Path, folders: Path) -> dict[str, dict[str, Any]]:
    """Of each recipe, from the model folders of `folders`; of the records there is a copy for each VAE, beside its latents."""
    stage, wan = str(folders / "sft"), str(folders / "wan")
    vae = sizes.vae_config(records / "stage", STEPS) | {"model": "test-wide"}
    vae["data"] |= {"clips": ROWS, "stills": ROWS}
    made = {
        "vae": vae,
        "step2": sizes.step2_config(records / "stage", folders / "vae", STEPS),
        "filler": sizes.filler_config(records / "stage", Path(stage), STEPS),
        "dpo": dpo_config(records / "stage", Path(stage), STEPS, beta=2.0).to_dict(),  # which rounding is multiplied by
        "lora": sizes.common(STEPS) | {
            "name": "flf2v", "task": "flf2v", "model": "test-flf2v", "encoders": wan, "init": wan, "shift": 3.0,
            "caption_dropout": 0.1, "export_dtype": "float32", "data": {"dir": str(records / "wan")},
            "lora": {"rank": 8, "alpha": 8.0, "base": "float32"},
        },
    }  # fmt: skip
    made["step2"]["evaluate"] = {"every": STEPS, "split": "train", "batches": 1, "bands": 2}
    for config in made.values():
        config["optimizer"] = SGD
        config["data"] |= {"batch": ROWS} if config["task"] != "vae" else {}
    return made


def runs(folder: Path, name: str, made: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"workdir": str(folder / name / kind), "config": made[kind] | {"mesh": MESHES[name]}, "small": SMALL.get(kind, 32)}
        for kind in RECIPES
    ]


def losses(folder: Path) -> np.ndarray:
    """Of each step, beside the norm of the gradient, and at the end that on given examples, where it is looked at."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.array([number for line in lines for name, number in line.items() if "loss" in name or name == "grad_norm"])


@pytest.mark.slow
def test_every_recipe_is_the_same_on_any_mesh(tmp_path: Path, records: Path, vae_folder: Path):
    """The two processes also make the caches of latents anew."""
    folders = tmp_path / "models"
    shutil.copytree(vae_folder, folders / "vae")
    write_sft(folders / "sft", folders / "vae")
    videos.write_wan(folders / "wan", "flf2v-clip")
    bare = shutil.ignore_patterns("latents")
    for copy in ("one/stage", "one/wan", "two/stage", "two/wan"):
        shutil.copytree(records, tmp_path / "records" / copy, ignore=bare)
    made = {name: configs(tmp_path / "records" / name, folders) for name in ("one", "two")}
    for name, devices in (("one", 1), ("fsdp", 8), ("mixed", 8)):
        finish(start(WORKER, tmp_path / f"{name}.json", runs(tmp_path, name, made["one"]), devices))
    finish(*start_two(WORKER, tmp_path, runs(tmp_path, "two", made["two"])))

    for kind in RECIPES:
        expected = losses(tmp_path / "one" / kind)
        assert len(expected) >= 2 * STEPS
        with np.load(tmp_path / "one" / f"{kind}.npz") as one:
            arrays = [path for path in one.files if path.startswith("params ")]
            moved = [path for path in arrays if (one[path] != one[path.replace("params ", "ema ", 1)]).any()]
            assert len(moved) >= 0.9 * len(arrays), kind
            for name in ("fsdp", "mixed", "two"):
                np.testing.assert_allclose(losses(tmp_path / name / kind), expected, rtol=1e-5, err_msg=f"{kind} on {name}")
                with np.load(tmp_path / name / f"{kind}.npz") as other:
                    assert set(one.files) == set(other.files) and other["spread"] > 0
                    for path in one.files:
                        if path != "spread":
                            limit = 1e-5 * np.abs(one[path]).max()
                            assert np.abs(one[path] - other[path]).max() <= limit, f"{kind} on {name}: {path}"
