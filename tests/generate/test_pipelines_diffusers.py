"""Whole videos beside the pipelines of diffusers: the same random weights, noise and levels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

from stage_jax.evaluation.goldens import relative_error
from stage_jax.generate.parts import VideoModels
from stage_jax.generate.video import Request, Sampling, VideoSampler
from stage_jax.models.piece_tokenizer import PieceTokenizer
from stage_jax.models.zoo import DITS
from stage_jax.recipes.sizes import token_side
from stage_jax.sampling.schedule import unipc_sigmas
from stage_jax.sampling.unipc import unipc
from tests.models.tokenizers import write_pieces

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

LATENTS, SAME_LEVEL = 1e-4, 0.999  # the largest relative difference; the share of values at most one level of 255 apart
FRAMES, STEPS, SHIFT, GUIDANCE, BOUNDARY = 13, 6, 3.7, (2.5, 4.2), 0.8  # guidance: for low and for high noise
TOKENS = 2  # a side, 32 or 64 pixels
PROMPTS, NEGATIVE = ("a red bear walks", "bear&amp;amp;bear  red 猫. a bear walks a red bear"), "a red."


@pytest.fixture(autouse=True)
def exact_and_quick() -> Iterator[None]:
    """Products in full float32, as the reference has them; compiled in half the time."""
    jax.config.update("jax_disable_most_optimizations", True)
    with jax.default_matmul_precision("highest"):
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PieceTokenizer:
    return PieceTokenizer.load(write_pieces(tmp_path_factory.mktemp("tokenizer")))


def picture(seed: int) -> np.ndarray:
    """224 pixels a side, which CLIP takes as they are: Wan's code and diffusers resize for it in different ways."""
    coarse = np.random.default_rng(seed).integers(0, 256, (7, 7, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((224, 224), Image.Resampling.BICUBIC))


@pytest.mark.parametrize(
    ("form", "images"),
    [
        ("wan2.1-t2v", 0),
        ("wan2.2-t2v", 0),  # two experts
        ("wan2.1-i2v", 1),
        ("wan2.1-flf2v", 2),
        ("wan2.2-i2v", 1),
        ("wan2.2-i2v", 2),
        ("wan2.2-ti2v", 0),
        ("wan2.2-ti2v", 1),
    ],
)
def test_videos(tokenizer: PieceTokenizer, form: str, images: int):
    from tests.generate.wan_parts import clip_pair, dit_pair, scheduler_on, umt5_pair, vae_pair

    config = replace(DITS[f"{form}-tiny"], scan_layers=False)
    if config.image_positions:
        config = replace(config, image_positions=2 * 5)
    parts = {
        "vae": vae_pair("wan2.2-tiny" if "ti2v" in form else "wan2.1-tiny"),
        "umt5": umt5_pair(tokenizer.size, config.text_dim),
        "dit": dit_pair(config),
    }
    if form == "wan2.2-t2v":
        parts["dit_low"] = dit_pair(config, 0.9)
    if config.image_dim:
        parts["clip"] = clip_pair(config.image_dim)
    sigmas = unipc_sigmas(STEPS, SHIFT)
    solver = unipc(sigmas)
    assert 0 < (solver.timesteps >= 1000 * BOUNDARY).sum() < STEPS
    pictures = [picture(seed) for seed in range(images)]
    sampler = VideoSampler(VideoModels(tokenizer, **{name: ours for name, (ours, _) in parts.items()}))
    side = TOKENS * token_side(sampler.models.vae.config, config)
    noise = sampler.noise(jax.random.key(3), len(PROMPTS), (side, side), FRAMES)
    given = dict(zip(("first", "last"), (np.stack([p] * len(PROMPTS)) for p in pictures), strict=False))
    request = Request(PROMPTS, NEGATIVE, **given)
    sampler.check(request, (side, side), FRAMES)
    guidance = GUIDANCE if "dit_low" in parts else (GUIDANCE[0],) * 2
    latents = sampler.latents(request, noise, Sampling(solver, guidance, BOUNDARY, chunk=4))
    theirs = {name: module for name, (_, module) in parts.items()}
    expected, video = run_theirs(theirs, tokenizer, scheduler_on(solver, sigmas), np.asarray(noise), pictures, side)
    assert relative_error(np.asarray(latents), expected) <= LATENTS
    found = sampler.decode(latents).astype(int)
    assert found.shape == (len(PROMPTS), FRAMES, side, side, 3) and found.std() > 10
    assert (np.abs(found - np.round(video * 255)) <= 1).mean() >= SAME_LEVEL


def run_theirs(
    parts: dict[str, Any], tokenizer: PieceTokenizer, scheduler: Any, noise: np.ndarray, pictures: list[np.ndarray], side: int
) -> tuple[np.ndarray, np.ndarray]:
    """Latents after the last step and the video in [0, 1]."""
    import torch
    from diffusers import WanImageToVideoPipeline, WanPipeline
    from transformers import CLIPImageProcessor

    common: dict[str, Any] = {
        "tokenizer": tokenizer._tokenizer,
        "text_encoder": parts["umt5"],
        "transformer": parts["dit"],
        "transformer_2": parts.get("dit_low"),
        "vae": parts["vae"],
        "scheduler": scheduler,
        "boundary_ratio": BOUNDARY if "dit_low" in parts else None,
        "expand_timesteps": parts["vae"].config.is_residual,
    }
    call: dict[str, Any] = {}
    if pictures:
        clip = {"image_encoder": parts.get("clip"), "image_processor": CLIPImageProcessor()}
        pipeline = WanImageToVideoPipeline(**common, **clip)
        call = dict(zip(("image", "last_image"), map(Image.fromarray, pictures), strict=False))
    else:
        pipeline = WanPipeline(**common)
    pipeline.set_progress_bar_config(disable=True)
    kept = []

    def keep(pipeline: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        kept.append(tensors["latents"].numpy())
        return tensors

    video = pipeline(
        prompt=list(PROMPTS),
        negative_prompt=[NEGATIVE] * len(PROMPTS),
        height=side,
        width=side,
        num_frames=FRAMES,
        num_inference_steps=STEPS,
        guidance_scale=GUIDANCE["dit_low" in parts],
        guidance_scale_2=GUIDANCE[0] if "dit_low" in parts else None,
        latents=torch.tensor(noise),
        output_type="np",
        callback_on_step_end=keep,
        **call,
    ).frames
    latents = kept[-1]
    if common["expand_timesteps"] and pictures:  # the pipeline puts the picture's latent back after the last step
        vae, fitted = parts["vae"], Image.fromarray(pictures[0]).resize((side, side), Image.Resampling.LANCZOS)
        pixels = (torch.tensor(np.asarray(fitted)) / 127.5 - 1).permute(2, 0, 1)[None, :, None]
        mean, std = (torch.tensor(x).reshape(1, -1, 1, 1, 1) for x in (vae.config.latents_mean, vae.config.latents_std))
        with torch.no_grad():
            latents[:, :, :1] = ((vae.encode(pixels).latent_dist.mode() - mean) / std).numpy()
    return latents, video
