"""CLIP's towers against transformers, live, and its pictures against PyTorch's bicubic interpolation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.clip import CLIP, CLIPConfig
from stage_jax.models.clip_pictures import MEAN, STD, clip_pictures
from stage_jax.models.clip_text import CLIPTextConfig
from stage_jax.models.stacking import flat_params, unstack_params, with_params
from stage_jax.weights.checkpoint import open_checkpoint
from stage_jax.weights.clip_table import clip_table
from stage_jax.weights.stream import load_params
from stage_jax.weights.table import from_torch, likely_naming, to_torch
from tests.goldens import drawn
from tests.weights.checkpoints import assert_identical

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.torch

TOLERANCE = 5e-6
VISION = CLIPConfig(dim=32, ffn_dim=80, heads=4, layers=3, picture=42, projection=12)
TEXT = CLIPTextConfig(vocabulary=50, dim=24, ffn_dim=40, heads=3, layers=3, positions=16)


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Parameters none of which is zero or one: a start's would hide errors."""
    generator = torch.Generator().manual_seed(3)
    for name, parameter in model.named_parameters():
        scale = 0.2 if parameter.ndim == 1 else parameter[0].numel() ** -0.5
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
        if parameter.ndim == 1 and name.endswith("weight"):
            parameter.add_(1.0)
    return model.eval()


def run(
    model: nnx.Module, *inputs: np.ndarray, call: Callable[..., jax.Array] = lambda model, *inputs: model(*inputs)
) -> jax.Array:
    graphdef, state = nnx.split(model)
    return jax.jit(lambda state, *inputs: call(nnx.merge(graphdef, state), *inputs))(state, *inputs)


@pytest.mark.parametrize("projection", [12, None], ids=["with projection", "without"])
def test_vision(tmp_path: Path, projection: int | None):
    """What transformers writes is read, run and given back: tokens of the last block but one, and embeddings."""
    sizes = transformers.CLIPVisionConfig(
        hidden_size=VISION.dim, intermediate_size=VISION.ffn_dim, num_hidden_layers=VISION.layers,
        num_attention_heads=VISION.heads, image_size=VISION.picture, patch_size=VISION.patch,
        projection_dim=VISION.projection, hidden_act="gelu", attn_implementation="eager",
    )  # fmt: skip
    kind = transformers.CLIPVisionModel if projection is None else transformers.CLIPVisionModelWithProjection
    theirs = randomise(kind(sizes))
    theirs.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    config = replace(VISION, projection=projection)
    table, abstract = clip_table(config), nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0)))
    clip = with_params(abstract, load_params(open_checkpoint(tmp_path / "model.safetensors"), table, flat_params(abstract)))
    pixels = np.random.default_rng(0).standard_normal((2, 3, config.picture, config.picture), dtype=np.float32)
    expected = theirs(torch.from_numpy(pixels), output_hidden_states=True)
    ours = np.moveaxis(pixels, 1, -1)
    assert relative_error(run(clip.vision, ours), expected.hidden_states[-2].numpy()) <= TOLERANCE
    if projection is not None:
        found = run(clip.vision, ours, call=lambda vision, x: vision.embed(x))
        assert relative_error(found, expected.image_embeds.numpy()) <= TOLERANCE
    else:  # transformers 5 leaves a prefix out, but reads it
        assert "pre_layrnorm.bias" in state
        state = {f"vision_model.{name}": array for name, array in state.items()}
        save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
        for name, value in kind.from_pretrained(tmp_path).state_dict().items():
            np.testing.assert_array_equal(value.numpy(), state[f"vision_model.{name}"])
    assert likely_naming(state, table) == ("diffusers", len(state))
    unrolled = flat_params(nnx.eval_shape(lambda: CLIP(replace(config, scan_layers=False), nnx.Rngs(0))))
    assert_identical(to_torch(from_torch(state, table, unrolled, naming="diffusers"), table, naming="diffusers"), state)


def xlm_roberta(state: dict[str, np.ndarray]) -> torch.nn.Module:
    """transformers' encoder with the text tower's weights, which have their original names."""
    sizes = transformers.XLMRobertaConfig(
        vocab_size=TEXT.vocabulary, hidden_size=TEXT.dim, intermediate_size=TEXT.ffn_dim, num_hidden_layers=TEXT.layers,
        num_attention_heads=TEXT.heads, max_position_embeddings=TEXT.positions, type_vocab_size=1, pad_token_id=TEXT.pad,
        layer_norm_eps=TEXT.eps, hidden_act="gelu", attn_implementation="eager",
    )  # fmt: skip
    names = {
        "token_embedding": "embeddings.word_embeddings",
        "type_embedding": "embeddings.token_type_embeddings",
        "pos_embedding": "embeddings.position_embeddings",
        "norm": "embeddings.LayerNorm",
    }
    layer = {
        "attn.q": "attention.self.query",
        "attn.k": "attention.self.key",
        "attn.v": "attention.self.value",
        "attn.o": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "ffn.0": "intermediate.dense",
        "ffn.2": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for i in range(TEXT.layers):
        names |= {f"blocks.{i}.{ours}": f"encoder.layer.{i}.{theirs}" for ours, theirs in layer.items()}
    renamed = {}
    for name, array in state.items():
        module, _, leaf = name.removeprefix("textual.").rpartition(".")
        if module in names:
            renamed[f"{names[module]}.{leaf}"] = torch.tensor(array)
    model = transformers.XLMRobertaModel(sizes, add_pooling_layer=False)
    model.load_state_dict(renamed, strict=True)
    return model.eval()


def test_text():
    """XLM-R's layers, then the mean of the real tokens and the head, computed apart; texts of unequal length, one of them
    as long as the positions let it be."""
    config = replace(VISION, text=TEXT)
    clip = drawn(nnx.eval_shape(lambda: CLIP(config, nnx.Rngs(0))))
    state = to_torch(unstack_params(flat_params(clip)), clip_table(config))
    ids = np.random.default_rng(5).integers(2, TEXT.vocabulary, (3, TEXT.positions - 2))
    for row, length in enumerate((14, 9, 2)):
        ids[row, length:] = TEXT.pad
    tokens, mask = torch.from_numpy(ids), torch.from_numpy(ids != TEXT.pad).float()
    hidden = xlm_roberta(state)(tokens, attention_mask=mask).last_hidden_state
    mean = (hidden * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
    first, second = (torch.tensor(state[f"textual.head.{i}.weight"]) for i in (0, 2))
    expected = torch.nn.functional.gelu(mean @ first.T) @ second.T
    assert relative_error(run(clip.text, ids), expected.numpy()) <= TOLERANCE


@pytest.mark.parametrize("size", [(30, 45), (97, 61), (224, 224), (480, 832)])
def test_pictures(size: tuple[int, int]):
    """Wan's own way: interpolated in [-1, 1], then to [0, 1] and normalised. Noise of black and white, whose overshoots are
    kept."""
    video = np.random.default_rng(2).choice(np.array([-1, 1], np.float32), (2, *size, 3))
    resized = torch.nn.functional.interpolate(
        torch.from_numpy(video).permute(0, 3, 1, 2), size=(224, 224), mode="bicubic", align_corners=False
    )
    assert size == (224, 224) or resized.abs().max() > 1.5
    expected = ((resized * 0.5 + 0.5).permute(0, 2, 3, 1).numpy() - np.array(MEAN)) / np.array(STD)
    assert relative_error(jax.jit(clip_pictures)(video), expected.astype(np.float32)) <= 1e-5
