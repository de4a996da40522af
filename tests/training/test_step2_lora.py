"""STEP2 trained by adapters alone: DPO then needs no copy of its reference, and what is left is a whole model folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import jax
import pytest

from stage_jax.generate.models import load_models
from stage_jax.models.dit import DiTConfig
from stage_jax.training.tasks import make_task
from stage_jax.training.train import train
from stage_jax.weights.folder import part_hashes, read_part
from tests.training.step2_folders import dpo_config, write_sft


@pytest.mark.slow
def test_dpo_by_adapters_holds_the_policy_to_itself_without_them(tmp_path: Path, records: Path, vae_folder: Path):
    sft = write_sft(tmp_path / "sft", vae_folder)
    config = dpo_config(records, sft, 2, lora={"rank": 2, "alpha": 2})
    del config["frozen"], config["text_encoder"]
    params = make_task(config).init(jax.random.key(0))
    assert not any(name.startswith(("reference.", "dit.", "umt5.")) for name in params)
    train(config, tmp_path / "run", lambda line: None)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert lines[0]["margin"] == 0 and lines[0]["loss_dpo"] == pytest.approx(math.log(2)) and lines[1]["margin"] != 0
    folder = tmp_path / "run" / "model"
    hashes = [part_hashes(f) for f in (sft, folder)]
    assert hashes[0].keys() == hashes[1].keys()
    assert {part for part in hashes[0] if hashes[0][part] != hashes[1][part]} == {"step2"}
    before, after = (read_part(f, "step2", DiTConfig)[1] for f in (sft, folder))
    changed = {name for name in before if (before[name] != after[name]).any()}
    assert before.keys() == after.keys() and "blocks.0.self_attention.query.kernel" in changed
    assert all(name.endswith(".kernel") and name.startswith("blocks.") for name in changed)
    assert load_models(folder, fill=False).step2.recipe == load_models(sft, fill=False).step2.recipe
