"""Every form of Wan's DiT against diffusers, live: outputs and the gradient of every parameter, in batches of two."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.evaluation.goldens import relative_error
from stage_jax.models.dit import DiTConfig
from stage_jax.models.sequence import TokenSequence
from stage_jax.models.stacking import flat_params, with_params
from stage_jax.models.zoo import DITS
from stage_jax.recipes.wan import flf2v_sequence, i2v_sequence, t2v_sequence, ti2v_sequence
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import from_torch, to_torch
from tests.goldens import QUICK
from tests.models.dits import abstract, joined_captions
from tests.models.peers import wan_transformer

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

OUTPUT_TOLERANCE, GRADIENT_TOLERANCE = 2e-5, 1e-4
FLOOR = 1e-3  # a parameter's gradients count as no smaller than this part of the largest of all
BATCH, FRAMES, HEIGHT, WIDTH, IMAGE_TOKENS = 2, 3, 4, 6, 257
TEXTS = (5, 30)  # rows; the rest up to the 512 of the models is zero on both sides
FORMS = [f"{form}-tiny" for form in ("wan2.1-t2v", "wan2.1-i2v", "wan2.1-flf2v", "wan2.2-i2v", "wan2.2-ti2v")]


@dataclass(frozen=True)
class Inputs:
    """latent: with its conditioning, [B, C, T, H, W]. image: CLIP features, [B, images, M, E]. weight: of the outputs in
    the loss.
    """

    latent: np.ndarray
    texts: list[np.ndarray]
    timestep: np.ndarray
    image: np.ndarray | None
    weight: np.ndarray


@dataclass(frozen=True)
class Result:
    """gradients: of sum(output * weight), by diffusers' names and in torch's layout."""

    output: np.ndarray
    gradients: dict[str, np.ndarray]


def their_model(config: DiTConfig) -> torch.nn.Module:
    """Random parameters none of which is zero: a start's zeros would hide errors."""
    model = wan_transformer(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            normal = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 1:
                parameter.copy_(("norm" in name and name.endswith("weight")) + 0.1 * normal)
            elif name.endswith(("scale_shift_table", "pos_embed")):
                parameter.copy_(0.5 * normal)
            else:
                parameter.copy_(normal / np.sqrt(np.prod(parameter.shape[1:])))
    return model


def draw_inputs(config: DiTConfig) -> Inputs:
    rng = np.random.default_rng(1)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    images = 2 if config.image_positions else 1
    return Inputs(
        latent=normal(BATCH, config.in_channels, FRAMES, HEIGHT, WIDTH),
        texts=[normal(rows, config.text_dim) for rows in TEXTS],
        timestep=np.array([730.0, 85.5], np.float32),
        image=None if config.image_dim is None else normal(BATCH, images, IMAGE_TOKENS, config.image_dim),
        weight=normal(BATCH, config.out_channels, FRAMES, HEIGHT, WIDTH),
    )


def theirs(model: torch.nn.Module, inputs: Inputs, name: str) -> Result:
    captions = np.zeros((BATCH, DITS[name].text_len, DITS[name].text_dim), np.float32)
    for row, text in enumerate(inputs.texts):
        captions[row, : len(text)] = text
    timestep = inputs.timestep
    if "ti2v" in name:  # of every token: 0 in the first frame
        per_frame = HEIGHT // 2 * WIDTH // 2
        timestep = np.repeat(timestep[:, None], FRAMES * per_frame, axis=1)
        timestep[:, :per_frame] = 0
    image = None if inputs.image is None else torch.from_numpy(inputs.image.reshape(-1, *inputs.image.shape[2:]))
    output = model(torch.from_numpy(inputs.latent), torch.from_numpy(timestep), torch.from_numpy(captions), image).sample
    (output * torch.from_numpy(inputs.weight)).sum().backward()
    return Result(output.detach().numpy(), {key: p.grad.numpy() for key, p in model.named_parameters()})


def our_sequence(inputs: Inputs, name: str) -> TokenSequence:
    latent, timestep, caption = jnp.asarray(inputs.latent), jnp.asarray(inputs.timestep), joined_captions(inputs.texts)
    image = None if inputs.image is None else jnp.asarray(inputs.image)
    match name.split("-")[1]:
        case "t2v":
            return t2v_sequence(latent, timestep, caption)
        case "i2v":
            image = None if image is None else image[:, 0]
            return i2v_sequence(latent[:, :16], latent[:, 16:], timestep, caption, image)
        case "flf2v":
            return flf2v_sequence(latent[:, :16], latent[:, 16:], timestep, caption, image)
        case "ti2v":
            return ti2v_sequence(latent[:, :, :1], latent[:, :, 1:], timestep, caption)


def ours(state: dict[str, np.ndarray], inputs: Inputs, name: str) -> Result:
    model = abstract(replace(DITS[name], scan_layers=False))
    graphdef, params = nnx.split(with_params(model, from_torch(state, DIT_TABLE, flat_params(model), naming="diffusers")))

    @partial(jax.jit, compiler_options=QUICK)
    def output_and_gradients(params: nnx.State, sequence: TokenSequence) -> tuple[jax.Array, nnx.State]:
        def loss(params: nnx.State) -> tuple[jax.Array, jax.Array]:
            output = jnp.concatenate(nnx.merge(graphdef, params)(sequence).outputs, axis=2)
            return (output * inputs.weight).sum(), output

        (_, output), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return output, gradients

    output, gradients = output_and_gradients(params, our_sequence(inputs, name))
    named = to_torch(flat_params(nnx.merge(graphdef, gradients)), DIT_TABLE, naming="diffusers")
    return Result(np.asarray(output), named)


@pytest.mark.parametrize("name", FORMS)
def test_outputs_and_gradients(name: str):
    inputs, model = draw_inputs(DITS[name]), their_model(DITS[name])
    state = {key: value.numpy() for key, value in model.state_dict().items()}
    found, expected = ours(state, inputs, name), theirs(model, inputs, name)
    assert relative_error(found.output, expected.output) <= OUTPUT_TOLERANCE
    assert found.gradients.keys() == expected.gradients.keys()
    largest = {key: np.abs(gradient).max() for key, gradient in expected.gradients.items()}
    floor = FLOOR * max(largest.values())
    off = {key: np.abs(found.gradients[key] - g).max() / max(largest[key], floor) for key, g in expected.gradients.items()}
    assert {key: value for key, value in off.items() if not value <= GRADIENT_TOLERANCE} == {}
