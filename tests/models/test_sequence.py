"""The token sequence under a DiT: what is absent leaves no trace, captions stay apart, layouts agree."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jaxtyping import TypeCheckError

from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.models.layout import Layout
from stage_jax.models.patchify import PatchEmbedding
from stage_jax.models.sequence import Segment, TokenSequence, grid_positions
from tests.goldens import QUICK, drawn

CHANNELS, TEXT_DIM, TEXT_LEN, BATCH = 4, 10, 5, 2
CONFIG = DiTConfig(
    dim=48,
    ffn_dim=64,
    heads=4,
    layers=2,
    in_channels=CHANNELS,
    out_channels=CHANNELS,
    text_dim=TEXT_DIM,
    text_len=TEXT_LEN,
    freq_dim=16,
    kernels=((1, 2, 2), (1, 4, 4), (2, 4, 4)),
)


MODEL = drawn(nnx.eval_shape(lambda: DiT(CONFIG, nnx.Rngs(0))))
GRAPHDEF, STATE = nnx.split(MODEL)


@partial(jax.jit, static_argnames="taps", compiler_options=QUICK)
def tapped(sequence: TokenSequence, taps: tuple[str, ...]) -> dict[str, jax.Array]:
    return nnx.merge(GRAPHDEF, STATE)(sequence, taps).taps


@partial(jax.jit, compiler_options=QUICK)
def forward(sequence: TokenSequence) -> tuple:
    return tuple(out for out in nnx.merge(GRAPHDEF, STATE)(sequence).outputs if out is not None)


@partial(jax.jit, compiler_options=QUICK)
def outputs_and_gradients(sequence: TokenSequence) -> tuple[tuple, nnx.State]:
    def loss(state: nnx.State) -> tuple[jax.Array, tuple]:
        outputs = tuple(out for out in nnx.merge(GRAPHDEF, state)(sequence).outputs if out is not None)
        return sum(jnp.square(out).mean() for out in outputs), outputs

    gradients, outputs = jax.grad(loss, has_aux=True)(STATE)
    return outputs, gradients


def frames(key: int, t: int, h: int, w: int, **options) -> Segment:
    """A segment of random latents; options are those of `grid_positions` and of `Segment`."""
    rng = np.random.default_rng([3, key])
    kernel = options.pop("kernel", (1, 2, 2))
    positions = grid_positions(t, h, w, kernel, options.pop("times", None), options.pop("full", None))[None]
    latent = rng.standard_normal((BATCH, CHANNELS, t, h, w), dtype=np.float32)
    return Segment(latent, positions, kernel=kernel, **options)


def sequence_of(*segments: Segment, captions: int) -> TokenSequence:
    rng = np.random.default_rng(5)
    text = rng.standard_normal((BATCH, captions, TEXT_LEN, TEXT_DIM), dtype=np.float32)
    return TokenSequence(segments, np.array([[700.0, 0.0], [30.0, 0.0]], np.float32), text)


def step2_like() -> TokenSequence:
    """Start and end frame, the previous frame in full, two smaller ones."""
    context = {"target": False, "t_slot": 1}
    return sequence_of(
        frames(0, 1, 8, 8, times=[0]),
        frames(1, 1, 8, 8, times=[1]),
        frames(2, 1, 8, 8, times=[-1], **context),
        frames(3, 1, 4, 4, times=[-2], full=(8, 8), **context),
        frames(4, 1, 2, 2, times=[-3], full=(8, 8), **context),
        captions=1,
    )


def dreamshot_like() -> TokenSequence:
    """Three shots of unequal length, each with its caption; references earlier in time, the last with a caption of its
    own.
    """
    context = {"target": False, "t_slot": 1}
    return sequence_of(
        frames(0, 2, 4, 4, times=[0, 1], caption=0),
        frames(1, 1, 4, 4, times=[2], caption=1),
        frames(2, 2, 4, 4, times=[3, 4], caption=2),
        frames(3, 1, 4, 4, times=[-2.5], caption=0, **context),
        frames(4, 1, 4, 4, times=[-1.5], caption=3, **context),
        captions=4,
    )


def onestory_like() -> TokenSequence:
    """Three latent frames, history with coarser and coarser kernels."""
    context = {"target": False, "t_slot": 1}
    return sequence_of(
        frames(0, 3, 8, 8),
        frames(1, 1, 8, 8, times=[-1], **context),
        frames(2, 2, 8, 8, times=[-3, -2], kernel=(1, 4, 4), **context),
        frames(3, 2, 8, 8, times=[-5, -4], kernel=(2, 4, 4), **context),
        captions=1,
    )


def absent(sequence: TokenSequence, index: int, valid: np.ndarray, fill: float) -> TokenSequence:
    """Mark tokens of one segment as not valid and fill their latents and positions, and captions that only they read."""
    segment = sequence.segments[index]
    cells = valid.reshape(BATCH, 1, *segment.grid)
    for axis, side in enumerate(segment.kernel, start=2):
        cells = np.repeat(cells, side, axis)
    changed = replace(
        segment,
        latent=np.where(cells, segment.latent, np.float32(fill)),
        positions=np.where(valid[..., None], segment.positions, np.float32(fill)),
        valid=valid,
    )
    captions = sequence.captions
    if [s.caption for s in sequence.segments].count(segment.caption) == 1:
        captions = captions.copy()
        captions[~valid.any(axis=1), segment.caption] = fill
    segments = (*sequence.segments[:index], changed, *sequence.segments[index + 1 :])
    return replace(sequence, segments=segments, captions=captions)


def without(sequence: TokenSequence, *indices: int) -> TokenSequence:
    kept = tuple(s for i, s in enumerate(sequence.segments) if i not in indices)
    return replace(sequence, segments=kept)


def assert_near(found: tuple, expected: tuple, tolerance: float = 1e-5) -> None:
    for a, b in zip(found, expected, strict=True):
        assert np.abs(np.asarray(a) - np.asarray(b)).max() <= tolerance * np.abs(np.asarray(b)).max()


SYSTEMS: dict[str, Callable[[], TokenSequence]] = {
    "step2": step2_like,
    "dreamshot": dreamshot_like,
    "onestory": onestory_like,
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_absence_leaves_no_trace(system: str):
    """Example 0 lacks the last segment and half of the one before, example 1 half of the last: NaN there changes
    nothing.
    """
    full = SYSTEMS[system]()
    last = len(full.segments) - 1

    def masked(fill: float) -> TokenSequence:
        valid = np.ones((BATCH, full.segments[last].size), bool)
        valid[0] = False
        valid[1, max(1, valid.shape[1] // 2) :] = False
        before = np.ones((BATCH, full.segments[last - 1].size), bool)
        before[0, before.shape[1] // 2 :] = False
        return absent(absent(full, last, valid, fill), last - 1, before, fill)

    assert np.isnan(masked(np.nan).segments[last].latent).any()
    clean, dirty = outputs_and_gradients(masked(0.0)), outputs_and_gradients(masked(np.nan))
    for a, b in zip(jax.tree.leaves(clean), jax.tree.leaves(dirty), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_array_equal(a, b)
    everything = [np.ones((BATCH, full.segments[i].size), bool) for i in (last, last - 1)]
    present = absent(absent(full, last, everything[0], np.nan), last - 1, everything[1], np.nan)
    assert np.abs(clean[0][0] - outputs_and_gradients(present)[0][0]).max() > 1e-3


@pytest.mark.parametrize("system", SYSTEMS)
def test_masked_equals_removed(system: str):
    full = SYSTEMS[system]()
    last = len(full.segments) - 1
    nothing = np.zeros((BATCH, full.segments[last].size), bool)
    assert_near(forward(absent(full, last, nothing, np.nan)), forward(without(full, last)))


def test_masked_tail_of_a_segment_equals_a_shorter_segment():
    full = onestory_like()
    long = full.segments[2]
    valid = np.arange(long.size)[None].repeat(BATCH, 0) < long.size // 2
    short = replace(long, latent=long.latent[:, :, :1], positions=long.positions[:, : long.size // 2])
    shorter = replace(full, segments=(*full.segments[:2], short, *full.segments[3:]))
    assert_near(forward(absent(full, 2, valid, np.nan)), forward(shorter))


def test_empty_context_equals_none():
    full = step2_like()
    context = [i for i, segment in enumerate(full.segments) if not segment.target]
    empty = full
    for i in context:
        empty = absent(empty, i, np.zeros((BATCH, full.segments[i].size), bool), np.nan)
    outputs, gradients = outputs_and_gradients(empty)
    assert_near(outputs, forward(without(full, *context)))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


@pytest.mark.parametrize("equal", [False, True], ids=["unequal", "equal"])
def test_a_shot_reads_its_own_caption_only(equal: bool):
    sequence = dreamshot_like()
    if equal:
        shots = tuple(frames(i, 1, 4, 4, times=[i], caption=i) for i in range(3))
        sequence = replace(sequence, segments=shots)
    tap = "blocks.0.cross_attention_output"
    changed = sequence.captions.copy()
    changed[:, 1] += 1.0
    before = tapped(sequence, (tap,))[tap]
    after = tapped(replace(sequence, captions=changed), (tap,))[tap]
    end = 0
    for segment in sequence.segments:
        tokens = slice(end, end := end + segment.size)
        difference = np.abs(before[:, tokens] - after[:, tokens]).max(axis=(1, 2))
        assert (difference > 1e-3).all() if segment.caption == 1 else (difference == 0).all()
    assert end == before.shape[1]


@pytest.mark.parametrize("kernel", [(1, 4, 4), (2, 4, 4)])
def test_coarse_kernel_starts_as_the_mean_of_fine_tokens(kernel: tuple[int, int, int]):
    embedding = PatchEmbedding(CONFIG.kernels, CHANNELS, CHANNELS, CONFIG.dim, nnx.Rngs(1))
    fine, coarse = frames(0, 2, 8, 8), frames(0, 2, 8, 8, kernel=kernel, target=False)
    fine_tokens = embedding(fine, jnp.dtype("float32")).reshape(BATCH, 2 // kernel[0], kernel[0], 2, 2, 2, 2, -1)
    mean = fine_tokens.mean(axis=(2, 4, 6)).reshape(BATCH, coarse.size, -1)
    assert_near((embedding(coarse, jnp.dtype("float32")),), (mean,))
    fine_positions = fine.positions.reshape(2 // kernel[0], kernel[0], 2, 2, 2, 2, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(coarse.positions[0], fine_positions.reshape(-1, 3), atol=1e-6)


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("parts", [2, 4])
def test_context_major_layout_gives_the_same_output(system: str, parts: int):
    whole = SYSTEMS[system]()
    last = len(whole.segments) - 1
    half = np.arange(whole.segments[last].size)[None].repeat(BATCH, 0) < (whole.segments[last].size + 1) // 2
    whole = absent(whole, last, half, np.nan)
    split = replace(whole, context_parts=parts, block=16)
    layout = Layout.of(split)
    assert layout.padded and (parts * layout.length) % 16 == 0
    assert_near(forward(split), forward(whole))


def test_taps_keep_the_order_of_the_sequence_in_every_layout():
    names = ("tokens", "blocks.1.hidden", "blocks.0.self_attention", "blocks.0.cross_attention")
    sequence = dreamshot_like()
    plain = tapped(sequence, names)
    split = tapped(replace(sequence, context_parts=2, block=8), names)
    n = sum(segment.size for segment in sequence.segments)
    assert plain["blocks.0.self_attention"].shape == (BATCH, CONFIG.heads, n, n)
    assert plain["blocks.0.cross_attention"].shape == (BATCH, CONFIG.heads, n, TEXT_LEN)
    assert_near(tuple(split[name] for name in names), tuple(plain[name] for name in names))
    np.testing.assert_allclose(plain["blocks.0.self_attention"].sum(-1), 1.0, rtol=1e-5)


def test_layout_packs_and_unpacks():
    sequence = replace(dreamshot_like(), context_parts=4, block=32)
    layout = Layout.of(sequence)
    sizes = [segment.size for segment in sequence.segments]
    values = [jnp.arange(size, dtype=jnp.float32)[None, :, None] + 100 * i for i, size in enumerate(sizes, start=1)]
    packed = layout.pack(values)
    assert packed.shape == (1, 4, layout.length, 1)
    assert float(packed.sum()) == float(sum(v.sum() for v in values))
    for i, value in enumerate(values):
        np.testing.assert_array_equal(layout.unpack(packed, i), value)
    by_caption = [caption for caption, _, _ in layout.groups]
    assert by_caption == [0, 1, 2, 3] and layout.groups[-1][2] == layout.length


def test_half_side_frame_sits_at_cell_centres():
    found = grid_positions(1, 4, 4, times=[-2], full=(8, 8))
    np.testing.assert_allclose(found[:, 1], [0.5, 0.5, 2.5, 2.5])
    np.testing.assert_allclose(found[:, 2], [0.5, 2.5, 0.5, 2.5])
    assert (found[:, 0] == -2).all()
    np.testing.assert_array_equal(grid_positions(2, 2, 4), [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]])


def test_sequence_is_a_pytree_with_static_structure():
    sequence = step2_like()
    leaves, treedef = jax.tree.flatten(sequence)
    assert len(leaves) == 2 * len(sequence.segments) + 2
    rebuilt = jax.tree.unflatten(treedef, leaves)
    assert jax.tree.structure(rebuilt) == treedef
    assert rebuilt.segments[-1].t_slot == 1 and rebuilt.segments[-1].latent is sequence.segments[-1].latent
    jax.tree.unflatten(treedef, [None] * len(leaves))  # markers in place of arrays, as JAX puts them
    other = replace(sequence, segments=(*sequence.segments[:-1], replace(sequence.segments[-1], t_slot=0)))
    assert jax.tree.structure(other) != treedef


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: replace(s, segments=s.segments[::-1]), "targets before"),
        (lambda s: replace(s, segments=s.segments[2:]), "targets before"),
        (lambda s: replace(s, timesteps=np.zeros((BATCH, 4), np.float32)), "at most 3"),
        (lambda s: replace(s, timesteps=np.zeros((BATCH, 1), np.float32)), "timestep slot 1 of 1"),
        (lambda s: replace(s, segments=(replace(s.segments[0], caption=1),)), "caption 1 of 1"),
        (lambda s: replace(s.segments[0], kernel=(1, 3, 3)), "multiples"),
        (lambda s: replace(s.segments[0], positions=np.zeros((1, 3, 3), np.float32)), "positions"),
        (lambda s: replace(s.segments[0], valid=np.ones((BATCH, 3), bool)), "valid"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable, message: str):
    with pytest.raises((ValueError, TypeCheckError), match=message):
        change(step2_like())
