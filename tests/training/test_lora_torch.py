"""A LoRA trained here, in diffusers: from the loop to `load_lora_weights`, with the files that people would take."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.cli import main as cli
from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.lora import scaled
from stage_jax.models.stacking import with_params
from stage_jax.training import train as loop
from stage_jax.training.state import split_params
from stage_jax.training.tasks.lora import FROZEN
from tests.training.small_dit import CONFIG, TIME, lora_config, lora_task, velocity, write_base

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("dialect", "rslora"), [("diffusers", False), ("diffusers", True), ("comfy", True)])
def test_a_trained_lora_makes_of_diffusers_model_what_it_makes_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dialect: str, rslora: bool
):
    from diffusers import WanPipeline, WanTransformer3DModel

    config = lora_config(write_base(tmp_path / "base"), base="float32", rslora=rslora)
    monkeypatch.setattr(loop, "make_task", lora_task)
    state = loop.train(config, tmp_path / "run", lambda line: None)
    files = [str(tmp_path / name) for name in ("theirs", "lora.safetensors")]
    assert cli.main(["export", str(tmp_path / "base"), files[0], "--format", "diffusers"]) == 0
    assert cli.main(["export", str(tmp_path / "run" / "model"), files[1], "--format", dialect, "--lora"]) == 0

    rng = np.random.default_rng(1)
    latent = rng.standard_normal((2, 16, 2, 4, 4), dtype=np.float32)
    caption = rng.standard_normal((2, CONFIG.text_len, CONFIG.text_dim), dtype=np.float32)
    model = WanTransformer3DModel.from_pretrained(tmp_path / "theirs" / "transformer")

    def theirs() -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(latent), torch.full((2,), TIME), torch.from_numpy(caption)).sample.numpy()

    plain = theirs()
    pipeline = WanPipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=model)
    pipeline.load_lora_weights(files[1])
    task = lora_task(config)
    _, base = split_params(task.init(jax.random.key(config.seed)), FROZEN)
    params = scaled(base | state.ema, task.lora.scale)
    ours = jax.jit(lambda params: velocity(with_params(task.task.dit, params), jnp.asarray(latent), jnp.asarray(caption)))
    assert relative_error(plain, theirs()) > 0.01
    assert relative_error(ours(params), theirs()) <= 1e-4
