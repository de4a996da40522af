"""STEP2's token sequence: what stands where, and that training and sampling see the same."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.models.dit import DiT, DiTConfig
from stage_jax.recipes.memory import HINTS, bank_frames, fill_slots, pack
from stage_jax.recipes.packing import memory_sizes
from stage_jax.recipes.step2 import Given, Memory, memory_positions, pair_positions, pair_sequence, pair_velocity
from stage_jax.recipes.step2_config import TINY, STEP2Config
from stage_jax.story.types import Character, Location, Scene, Shot, Story
from tests.goldens import drawn

C, SIDE = 2, 4
SLOTS = len(memory_sizes(TINY, SIDE, SIDE))
CONFIG = DiTConfig(
    dim=16, ffn_dim=16, heads=2, layers=1, in_channels=C + HINTS, out_channels=C, text_dim=4, text_len=3, freq_dim=8,
    scan_layers=False,
)  # fmt: skip


def memory(valid: list[bool], seed: int = 0) -> Memory:
    rng = np.random.default_rng(seed)
    latents = rng.standard_normal((1, SLOTS, C, SIDE, SIDE), dtype=np.float32)
    return Memory(latents, np.array([valid]), rng.integers(0, 2, (1, SLOTS, HINTS)).astype(np.float32))


def inputs() -> tuple[jax.Array, jax.Array, jax.Array]:
    pair, caption = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate([(1, 2, C, SIDE, SIDE), (1, 3, 4)]))
    return pair, jnp.array([400.0]), caption


@pytest.fixture(scope="module")
def velocity():
    """memory -> velocity of the same pair by a random model."""
    graphdef, state = nnx.split(drawn(nnx.eval_shape(lambda: DiT(CONFIG, nnx.Rngs(0)))))
    pair, timestep, caption = inputs()

    @jax.jit
    def run(memory: Memory) -> jax.Array:
        sequence = pair_sequence(pair, timestep, Given(caption, memory), TINY)
        return pair_velocity(nnx.merge(graphdef, state)(sequence), TINY)

    return run


@pytest.mark.smoke
def test_what_stands_where():
    """Start at 0, end at 1, memory at -1, -2, ...; the memory is clean, smaller by rank, and covers the whole picture."""
    packed = memory([True] * SLOTS)
    pair, timestep, caption = inputs()
    sequence = pair_sequence(pair, timestep, Given(caption, packed), TINY)
    target, *context = sequence.segments
    assert target.target and target.t_slot == 0 and target.valid is None
    np.testing.assert_array_equal(np.unique(target.positions[0, :4, 0]), [0])
    np.testing.assert_array_equal(np.unique(target.positions[0, 4:, 0]), [1])
    np.testing.assert_array_equal(sequence.timesteps, [[400, 0]])
    np.testing.assert_array_equal(sequence.captions[:, 0], caption)
    np.testing.assert_array_equal(target.latent[:, :C], np.moveaxis(pair, 1, 2))
    assert not target.latent[:, C:].any()

    sizes = memory_sizes(TINY, SIDE, SIDE)
    assert len(context) == SLOTS == len(sizes)
    for slot, (segment, size) in enumerate(zip(context, sizes, strict=True)):
        assert not segment.target and segment.t_slot == 1 and segment.latent.shape == (1, C + HINTS, 1, *size)
        np.testing.assert_array_equal(segment.positions[0, :, 0], -1.0 - slot)
        np.testing.assert_allclose(segment.positions[0, :, 1:].mean(0), target.positions[0, :, 1:].mean(0), atol=1e-6)
        hinted = np.broadcast_to(packed.hints[0, slot][:, None, None], (HINTS, *size))
        np.testing.assert_array_equal(segment.latent[0, C:, 0], hinted)
    np.testing.assert_array_equal(context[0].latent[0, :C, 0], packed.latents[0, 0])
    if sizes[-1] == (SIDE // 2, SIDE // 2):
        assert abs(float(context[-1].latent[0, :C].mean() - packed.latents[0, -1].mean())) < 0.1


def test_absent_memory_is_no_memory(velocity):
    """Masked equals none: whatever absent slots hold, NaN included, changes the output by nothing."""
    for valid in ([False] * SLOTS, [True] + [False] * (SLOTS - 1)):
        here = memory(valid)
        absent = ~here.valid
        latents, hinted = here.latents.copy(), here.hints.copy()
        latents[absent], hinted[absent] = np.nan, np.nan
        np.testing.assert_array_equal(velocity(here), velocity(Memory(latents, here.valid, hinted)))
    assert np.isfinite(velocity(memory([False] * SLOTS))).all()


def test_present_memory_is_seen(velocity):
    here = memory([True] * SLOTS)
    base = velocity(here)
    for slot in range(SLOTS):
        latents, hinted = here.latents.copy(), here.hints.copy()
        latents[:, slot] += 1
        hinted[:, slot] = 1 - hinted[:, slot]
        assert np.abs(velocity(dataclasses.replace(here, latents=latents)) - base).max() > 1e-4
        assert np.abs(velocity(dataclasses.replace(here, hints=hinted)) - base).max() > 1e-4


def test_start_and_end_come_back_in_their_places(velocity):
    assert velocity(memory([True] * SLOTS)).shape == (1, 2, C, SIDE, SIDE)


def test_memory_has_no_velocity_and_so_no_loss():
    pair, timestep, caption = inputs()
    sequence = pair_sequence(pair, timestep, Given(caption, memory([True] * SLOTS)), TINY)
    graphdef, state = nnx.split(nnx.eval_shape(lambda: DiT(CONFIG, nnx.Rngs(0))))
    outputs = jax.eval_shape(lambda state: nnx.merge(graphdef, state)(sequence), state).outputs
    assert outputs[0].shape == (1, C, 2, SIDE, SIDE) and outputs[1:] == (None,) * SLOTS


def test_the_board_loop_packs_as_training_does():
    """A bank that grew shot by shot gives, at every shot, the pack that training makes of the whole story."""
    scenes = tuple(
        Scene(f"SC0{i}", location="beach" if i % 2 else "wood", shots=tuple(
            Shot(f"SH0{j}0", "x", characters=("mia", "tom")[: (i + j) % 3]) for j in range(1, 3)
        ))
        for i in range(1, 4)
    )  # fmt: skip
    people = tuple(Character(name, name) for name in ("mia", "tom"))
    story = Story("t", characters=people, locations=(Location("beach", "b"), Location("wood", "w")), scenes=scenes)
    shots = list(story.shots())
    latents = np.random.default_rng(1).standard_normal((len(shots), 2, C, SIDE, SIDE)).astype(np.float32)
    bank, frames = Bank(story, (C, SIDE, SIDE)), latents.reshape(-1, C, SIDE, SIDE)
    for i, (scene, shot) in enumerate(shots):
        chosen = bank.pack(scene, shot)
        trained = pack(bank_frames(shots)[: 2 * i], shot.characters, scene.location, TINY, SLOTS)
        assert chosen == trained
        assert all(slot.frame < 2 * i for slot in chosen)  # nothing of this shot or a later one
        sampled = stack_memory([bank], [chosen])
        for ours, theirs in zip(fill_slots(trained, frames, SLOTS), jax.tree.leaves(sampled), strict=True):
            np.testing.assert_array_equal(ours, theirs[0])
        entries = bank.entries(chosen)
        assert [e.rank for e in entries] == list(range(len(chosen)))
        sizes = memory_sizes(TINY, SIDE, SIDE)[: len(entries)]
        assert [e.tokens for e in entries] == [rows * columns // 4 for rows, columns in sizes]
        assert sum(e.area for e in entries[1:]) < 1 and all(e.area == 1 for e in entries[:1])
        if i:
            assert (entries[0].shot, entries[0].which) == (story.shot_name(*shots[i - 1]), "end")
        bank.add(scene, shot, latents[i])


def test_stacked_positions_are_the_releases():
    """864x1536: frames of 108x192 latents, 54x96 tokens; the pair is one picture of 108x96 around (0, 0), memory of rank 0 the
    frame behind it, with a grid of its own."""
    start, end = pair_positions("stacked", 108, 192)
    for frame, rows in ((start, range(-54, 0)), (end, range(54))):
        expected = np.stack(np.meshgrid([0], rows, range(-48, 48), indexing="ij"), -1).reshape(-1, 3)
        np.testing.assert_array_equal(frame, expected)
    memory = memory_positions("stacked", 0, (10, 6), (108, 192))  # 5x3 tokens: the odd one stands on the negative side
    expected = np.stack(np.meshgrid([1], range(-3, 2), range(-2, 1), indexing="ij"), -1).reshape(-1, 3)
    np.testing.assert_array_equal(memory, expected)
    assert memory_positions("stacked", 4, (10, 6), (108, 192))[0, 0] == 5


def drawn_inputs(recipe: STEP2Config, side: int = 8) -> tuple[jax.Array, Given]:
    keys = iter(jax.random.split(jax.random.key(0), 8))
    slots = len(memory_sizes(recipe, side, side))
    latents, noise = (jax.random.normal(next(keys), (2, slots, C, side, side)) for _ in range(2))
    packed = Memory(latents, jnp.ones((2, slots), bool), jnp.ones((2, slots, HINTS)))
    if recipe.memory_noise:
        packed = dataclasses.replace(packed, noise=noise, level=jnp.array([0.0, 0.25]))
    tokens = jax.random.normal(next(keys), (2, 6, 5)) if recipe.image_tokens else None
    caption = jax.random.normal(next(keys), (2, 3, 4))
    return jax.random.normal(next(keys), (2, 2, C, side, side)), Given(caption, packed, tokens)


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(STEP2Config(layout="stacked", packing="release", hints=False), marks=pytest.mark.slow),
        pytest.param(STEP2Config(joint=False, packing="off", previous=False), marks=pytest.mark.slow),
        STEP2Config(joint=False, memory_noise=0.3, image_tokens=True, previous=False),
    ],
    ids=["release", "separate, no memory", "separate, noisy memory, CLIP"],
)
def test_recipes_run_and_frames_are_seen_together_or_apart(recipe: STEP2Config):
    """A change of the noisy end frame moves the start frame's velocity exactly where frames are denoised jointly."""
    branch = {"image_dim": 5, "image_positions": 6} if recipe.image_tokens else {}
    config = dataclasses.replace(CONFIG, in_channels=C + HINTS * recipe.hints, **branch)
    graphdef, state = nnx.split(drawn(nnx.eval_shape(lambda: DiT(config, nnx.Rngs(0)))))
    pair, given = drawn_inputs(recipe)
    timestep = jnp.array([400.0, 700.0])

    @jax.jit
    def run(pair: jax.Array, given: Given) -> jax.Array:
        return pair_velocity(nnx.merge(graphdef, state)(pair_sequence(pair, timestep, given, recipe)), recipe)

    base, moved = run(pair, given), run(pair.at[:, 1].add(1.0), given)
    assert base.shape == pair.shape and np.isfinite(base).all()
    assert (np.abs(moved - base)[:, 1] > 1e-4).any()
    assert bool((np.abs(moved - base)[:, 0] > 1e-4).any()) == recipe.joint
    if recipe.memory_noise:
        clean = dataclasses.replace(given, memory=dataclasses.replace(given.memory, level=jnp.zeros(2)))
        change = np.abs(run(pair, clean) - base).max((1, 2, 3, 4))
        assert change[0] == 0 and change[1] > 1e-4


@pytest.mark.slow
def test_a_hidden_frame_leaves_the_other_as_if_it_were_alone():
    """The program for both frames with one masked gives what the one for separate frames does."""
    graphdef, state = nnx.split(drawn(nnx.eval_shape(lambda: DiT(CONFIG, nnx.Rngs(0)))))
    pair, given = drawn_inputs(TINY, SIDE)
    timestep = jnp.array([400.0, 700.0])

    def run(given: Given, recipe: STEP2Config) -> jax.Array:
        return pair_velocity(nnx.merge(graphdef, state)(pair_sequence(pair, timestep, given, recipe)), recipe)

    alone = jax.jit(run, static_argnums=1)(given, dataclasses.replace(TINY, joint=False))
    shown = jnp.array([[True, False], [False, True]])
    masked = jax.jit(run, static_argnums=1)(dataclasses.replace(given, shown=shown), TINY)
    np.testing.assert_allclose(masked[0, 0], alone[0, 0], atol=2e-5)
    np.testing.assert_allclose(masked[1, 1], alone[1, 1], atol=2e-5)
