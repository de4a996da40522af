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
from stage_jax.recipes.memory import HINTS, bank_frames, fill_slots, pack, slot_sizes
from stage_jax.recipes.step2 import Memory, memory_slots, pair_sequence, pair_velocity
from stage_jax.story.types import Character, Location, Scene, Shot, Story
from tests.goldens import drawn

C, SIDE = 2, 4
SLOTS = memory_slots(SIDE, SIDE)
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
        return pair_velocity(nnx.merge(graphdef, state)(pair_sequence(pair, timestep, caption, memory)))

    return run


@pytest.mark.smoke
def test_what_stands_where():
    """Start at 0, end at 1, memory at -1, -2, ...; the memory is clean, smaller by rank, and covers the whole picture."""
    packed = memory([True] * SLOTS)
    pair, timestep, caption = inputs()
    sequence = pair_sequence(pair, timestep, caption, packed)
    target, *context = sequence.segments
    assert target.target and target.t_slot == 0 and target.valid is None
    np.testing.assert_array_equal(np.unique(target.positions[0, :4, 0]), [0])
    np.testing.assert_array_equal(np.unique(target.positions[0, 4:, 0]), [1])
    np.testing.assert_array_equal(sequence.timesteps, [[400, 0]])
    np.testing.assert_array_equal(sequence.captions[:, 0], caption)
    np.testing.assert_array_equal(target.latent[:, :C], np.moveaxis(pair, 1, 2))
    assert not target.latent[:, C:].any()

    sizes = ((SIDE, SIDE), *slot_sizes(SIDE, SIDE))
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
        trained = pack(bank_frames(shots)[: 2 * i], shot.characters, scene.location, SLOTS - 1)
        assert chosen == trained
        assert all(slot.frame < 2 * i for slot in chosen)  # nothing of this shot or a later one
        sampled = stack_memory([bank], [chosen])
        for ours, theirs in zip(fill_slots(trained, frames, SLOTS), jax.tree.leaves(sampled), strict=True):
            np.testing.assert_array_equal(ours, theirs[0])
        entries = bank.entries(chosen)
        assert [e.rank for e in entries] == list(range(len(chosen)))
        sizes = [(SIDE, SIDE), *slot_sizes(SIDE, SIDE)][: len(entries)]
        assert [e.tokens for e in entries] == [rows * columns // 4 for rows, columns in sizes]
        assert sum(e.area for e in entries[1:]) < 1 and all(e.area == 1 for e in entries[:1])
        if i:
            assert (entries[0].shot, entries[0].which) == (story.shot_name(*shots[i - 1]), "end")
        bank.add(scene, shot, latents[i])
