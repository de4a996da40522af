"""Videos of random models: what they depend on, and which parts are on the device together."""

from __future__ import annotations

import dataclasses
import gc
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.generate.parts import Part, VideoModels
from stage_jax.generate.video import Request, Sampling, VideoSampler
from stage_jax.generate.video_folder import open_models
from stage_jax.models.dit import DiT
from stage_jax.models.stacking import flat_params
from stage_jax.sampling.defaults import DEFAULTS
from stage_jax.sampling.named import solver_named
from stage_jax.weights.export import export
from stage_jax.weights.folder import open_part, write_part
from tests.generate.videos import DIT, write_wan
from tests.goldens import drawn

SIZE = (16, 16)
SOLVER = solver_named("unipc", 4, 3.0)


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wan(tmp_path_factory.mktemp("wan") / "model", "i2v", experts=2)


@pytest.fixture(scope="module")
def sampler(folder: Path) -> VideoSampler:
    return VideoSampler(open_models(folder, "float32").models)


def picture(seed: int, shape: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def test_what_a_video_depends_on(sampler: VideoSampler):
    """Prompt, negative prompt, pictures and both experts' guidance, but neither chunks nor the other videos of a batch."""
    noise = sampler.noise(jax.random.key(0), 2, SIZE, 5)
    request = Request(["a red bear", "walks."], "red", np.stack([picture(0), picture(1)]))
    sampling = Sampling(SOLVER, (2.0, 3.0), 0.85)
    assert 0 < (SOLVER.timesteps >= 850).sum() < 4
    both = sampler.latents(request, noise, sampling)
    np.testing.assert_array_equal(both, sampler.latents(request, noise, dataclasses.replace(sampling, chunk=1)))
    turned = Request(request.prompts[::-1], "red", request.first[::-1])
    np.testing.assert_allclose(both[::-1], sampler.latents(turned, noise[::-1], sampling), atol=1e-4)
    others = {
        "prompts": (dataclasses.replace(request, prompts=["a bear", "s"]), sampling),
        "negative": (dataclasses.replace(request, negative="bear"), sampling),
        "first": (dataclasses.replace(request, first=request.first[::-1]), sampling),
        "low": (request, dataclasses.replace(sampling, guidance=(2.5, 3.0))),
        "high": (request, dataclasses.replace(sampling, guidance=(2.0, 3.5))),
        "boundary": (request, dataclasses.replace(sampling, boundary=0.6)),
    }
    for name, (asked, how) in others.items():
        differ = jnp.abs(sampler.latents(asked, noise, how) - both).max(axis=(1, 2, 3, 4))
        assert (differ > 1e-4).all(), name


def watched(part: Part, name: str, living: dict[str, list[weakref.ref]], log: list[tuple[str, list[str]]]) -> Part:
    """The part, which tells at every loading whose parameters are alive."""

    def load() -> Any:
        gc.collect()
        log.append((name, sorted(n for n, refs in living.items() if any(ref() is not None for ref in refs))))
        params = part.load()
        living.setdefault(name, []).extend(map(weakref.ref, jax.tree.leaves(params)))
        return params

    return dataclasses.replace(part, load=load)


@pytest.mark.parametrize("keep", [False, True])
def test_parts_come_and_go(sampler: VideoSampler, keep: bool):
    """One part at a time, and of two experts never both, unless they are to be kept; then each is loaded once."""
    living, log = {}, []
    parts = {name: watched(getattr(sampler.models, name), name, living, log) for name in ("umt5", "vae", "dit", "dit_low")}
    models = VideoModels(sampler.models.tokenizer, **parts)
    mine = VideoSampler(models.kept() if keep else models)
    noise = mine.noise(jax.random.key(0), 1, SIZE, 5)
    latents = mine.latents(Request(["a"], "", picture(0)[None]), noise, Sampling(SOLVER, (2.0, 3.0), 0.85))
    assert mine.decode(latents).shape == (1, 5, *SIZE, 3)
    order = ["umt5", "vae", "dit", "dit_low"]
    if keep:
        assert log == [(name, sorted(order[:i])) for i, name in enumerate(order)]
    else:
        assert log == [(name, []) for name in (*order, "vae")]


def test_the_first_picture_is_kept(tmp_path: Path):
    """The 5B's first latent frame is the picture's, untouched by noise and steps."""
    sampler = VideoSampler(open_models(write_wan(tmp_path / "model", "ti2v"), "float32").models)
    noise = sampler.noise(jax.random.key(0), 1, SIZE, 5)
    found = sampler.latents(Request(["a"], "", picture(0, (32, 32))[None]), noise, Sampling(SOLVER, (3.0, 3.0)))
    assert found.shape == noise.shape
    other = sampler.latents(Request(["bear"], "", picture(0, (32, 32))[None]), noise + 1, Sampling(SOLVER, (2.0, 2.0)))
    np.testing.assert_array_equal(found[:, :, :1], other[:, :, :1])
    assert jnp.abs(found - other)[:, :, 1:].min() > 0


def test_types(folder: Path):
    """In bfloat16, what Wan's code computes in float32 keeps its numbers: time, modulation and norms."""
    models = open_models(folder, "bfloat16").models
    types = {".".join(map(str, path)): leaf.dtype for path, leaf in nnx.to_flat_state(models.dit.load())}
    kept = {name for name, dtype in types.items() if dtype == jnp.float32}
    assert kept == {name for name in types if any(word in name for word in ("norm", "modulation", "time_"))}
    assert {types[name] for name in types.keys() - kept} == {jnp.dtype("bfloat16")} and len(kept) > 10
    assert {leaf.dtype for leaf in jax.tree.leaves(models.vae.load())} == {jnp.dtype("float32")}


@pytest.mark.parametrize("layout", ["ours", "original"])
def test_the_text_tower_of_clip_stays_where_it_is(tmp_path: Path, layout: str):
    """It is opened and checked, but only the vision tower without its projection is loaded."""
    source = folder = write_wan(tmp_path / "model", "i2v-2.1")
    if layout == "original":
        export(folder, tmp_path / "torch", "original")
        source = tmp_path / "torch"
    part = open_models(source, "float32").models.clip
    found = flat_params(nnx.merge(part.form, part.load()))
    stored = open_part(folder, "clip")
    assert {path.split(".")[0] for path in found} == {"vision"} and "vision.head.kernel" not in found
    assert "text.token_embedding" in stored.entries
    np.testing.assert_array_equal(found["vision.positions"], stored.read("vision.positions"))


def test_defaults(folder: Path, tmp_path: Path):
    """Those of the release of this form; what model.json says goes before them."""
    opened = open_models(folder, "float32")
    assert (opened.like, opened.sampling, opened.size) == ("wan2.2-i2v-a14b", DEFAULTS["wan2.2-i2v-a14b"], None)
    said = {"steps": 7, "guidance": [1.5, 2], "boundary": 0.7, "fps": 8, "size": [64, 96], "note": "x"}
    opened = open_models(write_wan(tmp_path / "own", "t2v", experts=2, **said), "float32")
    expected = dataclasses.replace(DEFAULTS["wan2.2-t2v-a14b"], steps=7, guidance=(1.5, 2.0), boundary=0.7, fps=8)
    assert (opened.like, opened.sampling, opened.size) == ("wan2.2-t2v-a14b", expected, (64, 96))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"steps": 0}, "parts.dit.sampling.steps: found 0, expected a whole number from 1"),
        ({"guidance": "much"}, "parts.dit.sampling.guidance: found ['much', 'much'], expected a number in it"),
        ({"boundary": None}, "parts.dit.sampling.boundary: not found, expected where the expert for low noise begins"),
        ({"shift": 0}, "parts.dit.sampling.shift: found 0, expected a number above 0"),
        ({"size": [64]}, "parts.dit.sampling.size: found [64], expected height and width in pixels"),
    ],
)
def test_a_way_of_sampling_that_cannot_be(tmp_path: Path, said: dict[str, Any], expected: str):
    folder = write_wan(tmp_path / "model", "t2v", experts=2, **said)
    with pytest.raises(InputError) as caught:
        open_models(folder, "float32")
    assert str(caught.value).startswith(f"{folder / 'model.json'}: {expected}")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"text_dim": 9}, "width of the text encoder: found 8, the DiT takes 9"),
        ({"image_dim": 6, "in_channels": 36}, "width of CLIP's image tokens (part clip): found none, the DiT takes 6"),
        ({"in_channels": 8, "out_channels": 8}, "channels of the VAE's latents: found 16, the DiT takes 8"),
        ({"text_len": 77}, "a tokenizer of 512 ids a text, the DiT takes 77"),
        ({"layers": 2}, "found 1 layers, expected 2"),
    ],
)
def test_parts_that_were_not_made_for_each_other(tmp_path: Path, changes: dict[str, int], expected: str):
    folder = write_wan(tmp_path / "model", "t2v")
    config = dataclasses.replace(DIT, **changes)
    params = flat_params(drawn(nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))))
    write_part(folder, "dit", config, {name: array for name, array in params.items() if not name.startswith("blocks.1.")})
    with pytest.raises(InputError) as caught:
        open_models(folder, "float32")
    assert expected in str(caught.value) and "\n" not in str(caught.value)


def test_two_experts_of_one_form(tmp_path: Path):
    folder = write_wan(tmp_path / "model", "t2v", experts=2)
    other = dataclasses.replace(DIT, ffn_dim=8)
    write_part(folder, "dit_low", other, flat_params(drawn(nnx.eval_shape(lambda: DiT(other, nnx.Rngs(0))))))
    with pytest.raises(InputError, match="the sizes of dit_low are not those of dit"):
        open_models(folder, "float32")
