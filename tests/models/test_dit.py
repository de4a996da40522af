"""The DiT against the reference implementation, and the ways to run it against each other."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.errors import InputError
from stage_jax.evaluation.goldens import TOLERANCE, Golden, relative_error
from stage_jax.models.dit import DiT, DiTConfig, time_sinusoid
from stage_jax.models.rope import axis_channels, rotations
from stage_jax.models.sequence import Segment, grid_positions
from stage_jax.models.stacking import flat_params, stack_params, unstack_params, with_params
from stage_jax.weights.dit_table import DIT_TABLE
from stage_jax.weights.table import from_torch, to_torch
from tests.goldens import QUICK, load_golden
from tests.models.dits import (
    TINY,
    TINY_CLIP,
    abstract,
    golden_config,
    golden_sequence,
    loaded,
    random_model,
    random_sequence,
    run,
)


@pytest.fixture(scope="module")
def golden() -> Golden:
    return load_golden("dit_t2v")


@pytest.mark.parametrize("scan", [False, True], ids=["unrolled", "scan"])
@pytest.mark.smoke
def test_golden(golden: Golden, scan: bool):
    output = run(loaded(golden, scan), golden_sequence(golden), options={})
    assert relative_error(output.outputs[0], golden.io["out"]) <= TOLERANCE


def test_golden_with_padding_and_taps(golden: Golden):
    sequence = replace(golden_sequence(golden), context_parts=4, block=64)
    output = run(loaded(golden, scan=True), sequence, ("blocks.2.hidden",))
    assert relative_error(output.outputs[0], golden.io["out"]) <= TOLERANCE
    assert output.taps["blocks.2.hidden"].shape == (2, sequence.segments[0].size, golden.model["dim"])


def test_torch_names_round_trip(golden: Golden):
    expected = flat_params(abstract(golden_config(golden, scan_layers=False)))
    back = to_torch(from_torch(golden.weights, DIT_TABLE, expected), DIT_TABLE)
    assert back.keys() == golden.weights.keys()
    for key, value in back.items():
        np.testing.assert_array_equal(value, golden.weights[key])


def test_all_that_does_not_fit_is_named_in_one_line(golden: Golden):
    weights = dict(golden.weights)
    del weights["blocks.1.ffn.2.weight"], weights["head.modulation"]
    weights["img_emb.proj.0.weight"] = np.zeros(3, np.float32)
    weights["head.head.weight"] = np.zeros((7, 5), np.float32)
    expected = flat_params(abstract(golden_config(golden, scan_layers=False)))
    with pytest.raises(InputError) as caught:
        from_torch(weights, DIT_TABLE, expected, where="wan.safetensors")
    message = str(caught.value)
    assert message.startswith("wan.safetensors: 4 entries do not fit: ") and "\n" not in message
    for part in (
        "blocks.1.ffn.2.weight is missing",
        "head.modulation is missing",
        "img_emb.proj.0.weight is not known",
        "head.head.weight is [7, 5], expected [64, 96]",
    ):
        assert part in message
    with pytest.raises(InputError, match="no torch name for blocks.0.extra, other"):
        to_torch({"blocks.0.extra": np.zeros(1), "other": np.zeros(1)}, DIT_TABLE)


def test_scan_and_unrolled_share_start_and_names():
    stacked = flat_params(DiT(TINY, nnx.Rngs(0)))
    listed = flat_params(DiT(replace(TINY, scan_layers=False), nnx.Rngs(0)))
    assert "blocks.1.ffn.up.kernel" in listed and stacked["blocks.ffn.up.kernel"].shape == (2, 24, 32)
    for found, expected in ((stack_params(listed), stacked), (unstack_params(stacked), listed)):
        assert found.keys() == expected.keys()
        for name, value in found.items():
            np.testing.assert_array_equal(value, expected[name])
    with pytest.raises(KeyError, match=r"head\.modulation"):
        with_params(abstract(TINY), {k: v for k, v in stacked.items() if k != "head.modulation"})


def test_ways_to_compile_give_the_same_gradients():
    sequence = random_sequence(TINY_CLIP)
    start = flat_params(random_model(TINY_CLIP))

    def gradients(config: DiTConfig) -> dict:
        graphdef, state = nnx.split(with_params(abstract(config), start if config.scan_layers else unstack_params(start)))

        @partial(jax.jit, compiler_options=QUICK)
        def gradient(state: nnx.State) -> nnx.State:
            return jax.grad(lambda s: jnp.square(nnx.merge(graphdef, s)(sequence).outputs[0]).mean())(state)

        found = flat_params(nnx.merge(graphdef, gradient(state)))
        return found if config.scan_layers else stack_params(found)

    expected = gradients(TINY_CLIP)
    for config in (replace(TINY_CLIP, remat=True), replace(TINY_CLIP, scan_layers=False)):
        for name, value in gradients(config).items():
            assert relative_error(value, expected[name]) <= 1e-4, name


def test_bfloat16_is_near_float32():
    sequence = random_sequence(TINY_CLIP)
    model = random_model(TINY_CLIP)
    half = with_params(abstract(replace(TINY_CLIP, dtype="bfloat16")), flat_params(model))
    expected, found = run(model, sequence).outputs[0], run(half, sequence).outputs[0]
    assert found.dtype == jnp.float32
    assert 1e-5 < relative_error(found, expected) < 0.05


def test_36_input_channels():
    """The conditioning channels matter; a context segment of plain latents meets the latent channels of the kernel
    only.
    """
    config = replace(TINY, in_channels=36, out_channels=16, kernels=((1, 2, 2), (1, 4, 4)))
    model = random_model(config)
    sequence = random_sequence(config)
    plain = run(model, sequence).outputs[0]
    assert plain.shape == (2, 16, 2, 4, 4)
    latent = sequence.segments[0].latent.copy()
    latent[:, 16:] += 1
    changed = replace(sequence, segments=(replace(sequence.segments[0], latent=latent),))
    assert relative_error(run(model, changed).outputs[0], plain) > 1e-3
    history = latent[:, :16, :1]
    positions = grid_positions(1, 4, 4, times=[-1])[None]
    filled = np.concatenate([history, np.zeros_like(latent[:, 16:, :1])], axis=1)
    narrow, wide = (
        replace(sequence, segments=(*sequence.segments, Segment(x, positions, target=False))) for x in (history, filled)
    )
    np.testing.assert_allclose(run(model, narrow).outputs[0], run(model, wide).outputs[0], atol=1e-5)
    coarse = Segment(history, grid_positions(1, 4, 4, (1, 4, 4), [-1])[None], kernel=(1, 4, 4), target=False)
    both = run(model, replace(sequence, segments=(*sequence.segments, coarse)))
    assert np.isfinite(both.outputs[0]).all() and both.outputs[1] is None


def test_segments_take_their_own_timestep():
    """Two target segments at two timesteps; equal timesteps equal one shared slot."""
    model = random_model(TINY)
    sequence = random_sequence(TINY)
    whole = sequence.segments[0]
    parts = tuple(Segment(whole.latent[:, :, i : i + 1], whole.positions[:, 4 * i : 4 * i + 4], t_slot=i) for i in range(2))
    same = replace(sequence, segments=parts, timesteps=np.full((2, 2), 300.0, np.float32))
    joined = np.concatenate(run(model, same).outputs, axis=2)
    np.testing.assert_allclose(joined, run(model, sequence).outputs[0], atol=1e-5)
    clean = replace(same, timesteps=np.array([[0.0, 300.0]] * 2, np.float32))
    assert relative_error(run(model, clean).outputs[0], joined[:, :, :1]) > 1e-3


def test_start():
    """Wan's start: a zero head. gate_init: ones on top of the two gates, nothing else changes."""
    plain, gated = (flat_params(DiT(replace(TINY, gate_init=g), nnx.Rngs(0))) for g in (0.0, 1.0))
    assert not plain["head.projection.kernel"].any()
    difference = np.asarray(gated["blocks.modulation"] - plain["blocks.modulation"])
    np.testing.assert_allclose(difference[:, 0, [2, 5]], 1.0, rtol=1e-5)
    assert not difference[:, 0, [0, 1, 3, 4]].any()


def test_time_sinusoid_has_cosines_first():
    found = time_sinusoid(jnp.array([0.0, 500.0]), 8)
    np.testing.assert_array_equal(found[0], [1, 1, 1, 1, 0, 0, 0, 0])
    angles = 500.0 * 10000.0 ** (-np.arange(4) / 4)
    np.testing.assert_allclose(found[1], [*np.cos(angles), *np.sin(angles)], atol=3e-5)


def test_rotations_split_the_head_as_wan():
    assert axis_channels(128) == (44, 42, 42)
    cos, sin = rotations(jnp.array([[0.0, 0.0, 0.0], [0.0, 1.5, 0.0]]), 128, 10000.0)
    assert (cos[0] == 1).all() and (sin[0] == 0).all()
    np.testing.assert_allclose(sin[1, 22:43], np.sin(1.5 * 10000.0 ** (-np.arange(21) / 21)), atol=1e-6)
    assert not sin[1, :22].any() and not sin[1, 43:].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kernel": (1, 4, 4), "positions": np.zeros((1, 2, 3), np.float32)}, "no weights"),
        ({"latent": np.zeros((2, 5, 2, 4, 4), np.float32)}, "5 channels"),
    ],
)
def test_segments_the_model_has_no_weights_for(change: dict, message: str):
    sequence = random_sequence(TINY)
    wrong = replace(sequence, segments=(replace(sequence.segments[0], **change),))
    with pytest.raises(ValueError, match=message):
        random_model(TINY)(wrong)


def test_unknown_tap_and_long_caption_are_refused():
    model, sequence = random_model(TINY), random_sequence(TINY)
    with pytest.raises(ValueError, match=r"blocks\.2\.hidden"):
        model(sequence, taps=("blocks.2.hidden",))
    with pytest.raises(ValueError, match="9 rows"):
        model(replace(sequence, captions=np.zeros((2, 1, 9, 6), np.float32)))
