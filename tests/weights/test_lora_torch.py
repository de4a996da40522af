"""LoRA files live: ours in diffusers' pipelines, with equal outputs; those of PEFT and diffusers here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.lora import adapted, joined
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.zoo import DITS
from stage_jax.recipes.wan import t2v_sequence
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.lora_file import read_lora_file
from stage_jax.weights.lora_write import write_lora_files
from stage_jax.weights.table import from_torch
from tests.models.dits import abstract, run
from tests.models.peers import wan_transformer
from tests.weights.loras import random_lora

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

TOLERANCE = 1e-4  # of the largest value; without a LoRA these models agree to 2e-5
CONFIG = replace(DITS["wan2.1-t2v-tiny"], scan_layers=False)
TIMES = np.array([731.0, 86.0], np.float32)


@pytest.fixture(scope="module")
def inputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    latent = rng.standard_normal((2, 16, 2, 4, 6), dtype=np.float32)
    return latent, rng.standard_normal((2, CONFIG.text_len, CONFIG.text_dim), dtype=np.float32)


def transformer() -> torch.nn.Module:
    torch.manual_seed(0)
    model = wan_transformer(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) / np.sqrt(np.prod(parameter.shape[1:])))
    return model.eval()


def theirs(model: torch.nn.Module, inputs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    latent, captions = map(torch.from_numpy, inputs)
    with torch.no_grad():
        return model(latent, torch.from_numpy(TIMES), captions).sample.numpy()


def ours(state: dict[str, np.ndarray], path: Path | None, inputs: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    form = abstract(CONFIG)
    params = from_torch(state, DIT_TABLE, flat_params(form), naming="diffusers")
    lora = joined([(read_lora_file(path)["dit"], 1.0)], params)
    model = with_params(adapted(form, lora), params | lora)
    latent, captions = map(jnp.asarray, inputs)
    return np.asarray(run(model, t2v_sequence(latent, jnp.asarray(TIMES), captions)).outputs[0])


def state_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {key: value.numpy().copy() for key, value in model.state_dict().items()}


@pytest.mark.parametrize(("dialect", "rslora"), [("diffusers", False), ("diffusers", True), ("comfy", True), ("kohya", False)])
def test_ours_in_diffusers(tmp_path: Path, inputs: tuple[np.ndarray, np.ndarray], dialect: str, rslora: bool):
    """`load_lora_weights` takes what we wrote, ranks and alphas that differ too, and outputs are ours."""
    from diffusers import WanPipeline

    lora = random_lora(CONFIG, rslora=rslora)
    if dialect != "diffusers":  # diffusers reads these of the blocks' linears alone
        kept = [path for path in lora.alphas if path.startswith("blocks.")]
        lora = replace(lora, alphas={path: lora.alphas[path] for path in kept})
    (path,) = write_lora_files(tmp_path / "lora.safetensors", {"dit": lora}, dialect)
    model = transformer()
    state, plain = state_of(model), theirs(model, inputs)
    pipeline = WanPipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=model)
    pipeline.load_lora_weights(str(path))
    expected = theirs(pipeline.transformer, inputs)
    assert relative_error(plain, expected) > 0.05
    assert relative_error(ours(state, path, inputs), expected) <= TOLERANCE


@pytest.mark.parametrize("writer", ["diffusers", "peft"])
def test_theirs_here(tmp_path: Path, inputs: tuple[np.ndarray, np.ndarray], writer: str):
    """A LoRA that PEFT made, written by diffusers' pipeline and by PEFT itself, with rsLoRA and an alpha of its own."""
    from diffusers import WanPipeline
    from peft import LoraConfig, get_peft_model
    from peft.utils import get_peft_model_state_dict

    model = transformer()
    state = state_of(model)
    config = LoraConfig(
        r=4, lora_alpha=6, use_rslora=True, init_lora_weights=False, alpha_pattern={"ffn.net.2": 3},
        target_modules=["to_q", "to_out.0", "ffn.net.0.proj", "ffn.net.2"],
    )  # fmt: skip
    if writer == "peft":
        wrapped = get_peft_model(model, config)
        wrapped.save_pretrained(tmp_path)
        path, expected = tmp_path, theirs(wrapped, inputs)
    else:
        model.add_adapter(config)
        WanPipeline.save_lora_weights(
            tmp_path, get_peft_model_state_dict(model), weight_name="lora.safetensors",
            transformer_lora_adapter_metadata=model.peft_config["default"].to_dict(),
        )  # fmt: skip
        path, expected = tmp_path / "lora.safetensors", theirs(model, inputs)
    assert relative_error(ours(state, path, inputs), expected) <= TOLERANCE
