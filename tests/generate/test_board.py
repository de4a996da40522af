"""The board loop and the clip loop on models of random weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.film.timecode import shot_spans
from stage_jax.generate.bank import Bank, stack_memory
from stage_jax.generate.board import check_words, draw_board, given_board, seed_of
from stage_jax.generate.clips import ClipSampler, fill_board
from stage_jax.generate.edits import Edits
from stage_jax.generate.models import Models, load_models
from stage_jax.generate.pairs import PairSampler
from stage_jax.generate.shelf import Shelf
from stage_jax.models.dit import DiTConfig
from stage_jax.recipes.packing import memory_sizes
from stage_jax.recipes.step2 import Memory
from stage_jax.recipes.step2_config import TINY
from stage_jax.story.board import Board, Pair, Reference
from stage_jax.story.types import Shot
from stage_jax.weights.folder import read_part, write_part
from tests.generate.models import FRAMES, SAMPLING, make_story, write_models
from tests.training import sizes

SIDE = sizes.SIDE
NAMES = ["SC01_SH010", "SC01_SH020", "SC02_SH010"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_models(tmp_path_factory.mktemp("board") / "model")


@pytest.fixture(scope="module")
def models(folder: Path) -> Models:
    return load_models(folder)


@pytest.fixture(scope="module")
def sampler(models: Models) -> PairSampler:
    return PairSampler(models.step2, models.captions)


@pytest.fixture(scope="module")
def board(models: Models, sampler: PairSampler) -> Board:
    seen = []
    drawn = draw_board(models, make_story(), 5, sampler=sampler, progress=lambda *a: seen.append(a))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    return drawn


def pictures(board: Board) -> np.ndarray:
    return np.stack([[shot.pair.start, shot.pair.end] for shot in board.shots])


@pytest.mark.smoke
def test_board(board: Board):
    assert [shot.name for shot in board.shots] == NAMES and board.fps == 8.0
    assert pictures(board).shape == (3, 2, SIDE, SIDE, 3) and pictures(board).dtype == np.uint8
    assert [shot.source for shot in board.shots] == ["step2"] * 3
    assert [[(e.shot, e.which, e.rank) for e in shot.memory][:2] for shot in board.shots] == [
        [],
        [(NAMES[0], "end", 0), (NAMES[0], "start", 1)],
        [(NAMES[1], "end", 0), (NAMES[1], "start", 1)],  # Tom came in there
    ]
    assert board.shots[1].seed == 7 and board.shots[0].seed != board.shots[2].seed


def test_same_seed_same_board_other_seed_another(board: Board, models: Models, sampler: PairSampler):
    again = draw_board(models, make_story(), 5, sampler=sampler)
    np.testing.assert_array_equal(pictures(again), pictures(board))
    other = draw_board(models, make_story(), 6, sampler=sampler)
    assert (pictures(other)[0] != pictures(board)[0]).any()


def test_later_shots_see_what_was_drawn_and_earlier_ones_do_not(board: Board, models: Models, sampler: PairSampler):
    """A change in shot 1 changes shot 2 and what follows; a change in shot 3 changes nothing before it."""
    story = make_story()
    scene = story.scenes[0]
    reseeded = dataclasses.replace(scene, shots=(dataclasses.replace(scene.shots[0], seed=99), *scene.shots[1:]))
    changed = draw_board(models, dataclasses.replace(story, scenes=(reseeded, story.scenes[1])), 5, sampler=sampler)
    assert all((a != b).any() for a, b in zip(pictures(changed), pictures(board), strict=True))
    changed = draw_board(models, make_story(last="The wood."), 5, sampler=sampler)
    np.testing.assert_array_equal(pictures(changed)[:2], pictures(board)[:2])


def references(*who: str, seed: int = 0) -> list[Reference]:
    rng = np.random.default_rng(seed)
    pictures = rng.integers(0, 256, (len(who), SIDE, SIDE, 3), dtype=np.uint8)
    return [Reference(name, 1, picture) for name, picture in zip(who, pictures, strict=True)]


def test_references_are_remembered_from_the_first_shot_on(board: Board, models: Models, sampler: PairSampler):
    """They change what is drawn, are named as what they are, and take part in no shot of others."""
    programs = sampler.programs()
    given = references("tom", "mia")
    drawn = draw_board(models, make_story(), 5, sampler=sampler, edits=Edits(references=given))
    assert drawn.references == tuple(given) and sampler.programs() == programs
    named = [[(e.shot, e.which, e.character, e.number) for e in shot.memory] for shot in drawn.shots]
    mia, tom = (("", "reference", who, 1) for who in ("mia", "tom"))
    assert set(named[0]) == {mia} and named[1][:3] == [(NAMES[0], "end", "", 0), mia, tom]
    assert named[2][:2] == [(NAMES[1], "end", "", 0), tom] and mia not in named[2]
    assert [entry.why for entry in drawn.shots[1].memory[1:3]] == ["first reference of mia", "first reference of tom"]
    assert {e.key for shot in drawn.shots for e in shot.memory} <= drawn.pictures().keys()
    np.testing.assert_array_equal(drawn.pictures()["mia", 1], given[1].picture)
    assert all((a != b).any() for a, b in zip(pictures(drawn), pictures(board), strict=True))
    # Tom comes in with the second shot: nothing about him is known to the first
    other = draw_board(models, make_story(), 5, sampler=sampler, edits=Edits(references=[references("ada")[0], given[1]]))
    np.testing.assert_array_equal(pictures(other)[0], pictures(drawn)[0])
    assert (pictures(other)[1:] != pictures(drawn)[1:]).any((1, 2, 3, 4)).all()


def test_references_stand_before_all_shots(models: Models):
    bank, (reference,) = Bank(make_story(), models.latent_shape()), references("mia")
    latent = np.zeros((1, *models.latent_shape()), np.float32)
    bank.add_reference(reference, latent)
    bank.add(*next(make_story().shots()), np.zeros((2, *models.latent_shape()), np.float32))
    with pytest.raises(ValueError, match="reference of mia: found 1 shots before it"):
        bank.add_reference(reference, latent)


def test_a_model_without_memory_has_no_use_for_references(models: Models):
    step2 = dataclasses.replace(models.step2, recipe=dataclasses.replace(TINY, packing="off"))
    forgetful = dataclasses.replace(models, step2=step2)
    sampler = PairSampler(step2, models.captions)
    edits = Edits(references=references("mia"))
    drawn, plain = (draw_board(forgetful, make_story(), 5, sampler=sampler, edits=given) for given in (edits, None))
    np.testing.assert_array_equal(pictures(drawn), pictures(plain))
    assert drawn.references == () and all(shot.memory == () for shot in drawn.shots)


def test_seeds():
    """A shot's own seed, or one from the film's seed and its place; any seed of 32 bits gives noise of its own."""
    plain, fixed = Shot("SH010", "x"), Shot("SH010", "x", seed=0)
    assert seed_of(1, 2, fixed) == 0
    assert len({seed_of(s, i, plain) for s in range(10) for i in range(10)}) == 100
    draws = [np.asarray(jax.random.normal(jax.random.key(s), (4,))) for s in (0, 1, 2**31, 2**32 - 1)]
    assert all((a != b).any() for i, a in enumerate(draws) for b in draws[:i])


def test_a_shot_is_the_same_alone_and_in_a_batch(sampler: PairSampler):
    rng = np.random.default_rng(0)
    side = SIDE // sizes.VAE.spatial_stride
    slots = len(memory_sizes(TINY, side, side))
    memory = Memory(
        rng.standard_normal((2, slots, 16, side, side), dtype=np.float32),
        np.array([[True] * slots, [True] + [False] * (slots - 1)]),
        np.zeros((2, slots, 4), np.float32),
    )
    captions, seeds = ["mia walks left", "tom on the beach"], [1, 2]
    together = sampler(captions, memory, seeds)
    alone = sampler(captions[1:], jax.tree.map(lambda x: x[1:], memory), seeds[1:])
    np.testing.assert_allclose(together[1], alone[0], atol=1e-4)


def test_one_program_for_stories_of_2_and_200_shots(models: Models, sampler: PairSampler, board: Board):
    """Whatever is remembered, the arrays have the same shapes."""
    scene, shot = next(make_story().shots())
    before = sampler.programs()
    for count in (1, 199):
        bank = Bank(make_story(), models.latent_shape())
        for number in range(count):
            bank.add(scene, shot, np.full((2, *models.latent_shape()), number, np.float32))
        chosen = bank.pack(scene, shot)
        assert [slot.frame for slot in chosen[:2]] == [2 * count - 1, 0]
        sampler(["mia walks left"], stack_memory([bank], [chosen]), [0])
    assert sampler.programs() == before


def test_guidance_is_brought_to_the_norm_of_the_caption_s_branch(models: Models):
    """Token by token, where a model's folder asks for it."""
    side = SIDE // sizes.VAE.spatial_stride
    memory = stack_memory([Bank(make_story(), models.latent_shape())], [()])
    sampling = dict(models.step2.sampling) | {"rescale": True}
    draw = [
        PairSampler(dataclasses.replace(models.step2, sampling=how), models.captions, steps=1, guidance=g)
        for how, g in ((sampling, 3.0), (models.step2.sampling, 1.0))
    ]
    noise = np.asarray(jax.random.normal(jax.random.key(4), (2, *models.latent_shape())))
    moved = [np.asarray(sampler(["mia walks left"], memory, [4]))[0] - noise for sampler in draw]  # one Euler step
    norms = [np.sqrt((m.reshape(2, -1, side // 2, 2, side // 2, 2) ** 2).sum((1, 3, 5))) for m in moved]
    np.testing.assert_allclose(norms[0], norms[1], rtol=1e-3)
    assert np.abs(moved[0] - moved[1]).max() > 1e-3


def test_a_recipe_is_read_with_its_model_and_held_against_it(tmp_path: Path):
    folder = write_models(tmp_path / "model")
    config, params = read_part(folder, "step2", DiTConfig)
    how = SAMPLING | {"size": list(SAMPLING["size"])}
    told = {"recipe": {"packing": "off", "timing": True}, "solver": "stage"}
    write_part(folder, "step2", config, params, sampling=how | told)
    read = load_models(folder, fill=False).step2
    assert read.recipe == dataclasses.replace(TINY, packing="off", timing=True) and float(read.solver().sigmas[-1]) < 0.021
    for recipe, message in (
        ({"packing": "big"}, "sampling.recipe.packing: found 'big', expected one of 'paper', 'release', 'off'"),
        ({"hints": False}, "recipe.hints: found False for 20 input channels, expected 16"),
        ({"image_tokens": True}, "recipe.image_tokens: found True, but the model has none"),
    ):
        write_part(folder, "step2", config, params, sampling=how | {"recipe": recipe})
        with pytest.raises(InputError, match=message):
            load_models(folder, fill=False)


def test_guidance_drops_the_caption_only(models: Models):
    side = SIDE // sizes.VAE.spatial_stride
    slots = len(memory_sizes(TINY, side, side))
    latents = jax.random.normal(jax.random.key(0), (1, slots, 16, side, side))
    memory = Memory(latents, jnp.ones((1, slots), bool), jnp.zeros((1, slots, 4)))
    draw = {g: PairSampler(models.step2, models.captions, steps=1, guidance=g) for g in (0.0, 1.0, 3.0)}
    found = {g: np.asarray(sampler(["mia walks left"], memory, [4])) for g, sampler in draw.items()}
    np.testing.assert_allclose(found[0.0], draw[1.0]([""], memory, [4]), atol=1e-4)
    np.testing.assert_allclose(found[3.0], found[0.0] + 3 * (found[1.0] - found[0.0]), atol=1e-3)  # one Euler step is linear
    assert np.abs(found[1.0] - found[0.0]).max() > 1e-3
    other = Memory(-latents, memory.valid, memory.hints)
    assert np.abs(draw[0.0]([""], other, [4]) - found[0.0]).max() > 1e-3  # memory is seen without a caption too


def test_clips(board: Board, models: Models):
    seen = []
    filled = fill_board(board, ClipSampler(models), progress=lambda *a: seen.append(a))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert all(shot.clip.frames == FRAMES and shot.clip.read().shape == (FRAMES, SIDE, SIDE, 3) for shot in filled.shots)
    np.testing.assert_array_equal(pictures(filled), pictures(board))
    again = fill_board(board, ClipSampler(models))
    assert all((a.clip.read() == b.clip.read()).all() for a, b in zip(filled.shots, again.shots, strict=True))


def test_a_frame_that_ends_a_shot_and_starts_the_next_is_shown_once(board: Board, models: Models, tmp_path: Path):
    first, second, third = board.shots
    second = dataclasses.replace(second, pair=Pair(first.pair.end, second.pair.end))
    joined = dataclasses.replace(board, shots=(first, second, third))
    sampler, plain = ClipSampler(models), ClipSampler(models).fill(second, 8.0)
    for shelf in (None, Shelf(tmp_path), Shelf(tmp_path)):  # in memory, then made, then found
        filled = fill_board(joined, sampler, shelf=shelf)
        assert [shot.clip.frames for shot in filled.shots] == [FRAMES, FRAMES - 1, FRAMES]
        assert [len(shot.clip.read()) for shot in filled.shots] == [FRAMES, FRAMES - 1, FRAMES]
        np.testing.assert_array_equal(filled.shots[1].clip.read(), plain[1:])
        assert shot_spans(filled) == ((0, FRAMES), (FRAMES, 2 * FRAMES - 1), (2 * FRAMES - 1, 3 * FRAMES - 1))


def test_clips_that_land_end_nearer_to_their_pairs(models: Models):
    """Only the pictures of the last latent frame move."""
    rng = np.random.default_rng(0)
    pair = Pair(*rng.integers(0, 256, (2, SIDE, SIDE, 3), dtype=np.uint8))
    plain, landed = (ClipSampler(models, landing=n)([pair], ["mia walks left"], [1])[0].astype(float) for n in (0, 100))
    kept = FRAMES - sizes.VAE.temporal_stride
    np.testing.assert_array_equal(landed[:kept], plain[:kept])
    assert np.square(landed[-1] - pair.end).mean() < np.square(plain[-1] - pair.end).mean()


def test_given_pairs_are_fitted(models: Models):
    rng = np.random.default_rng(0)
    given = {n: Pair(*rng.integers(0, 256, (2, 20, 50, 3), dtype=np.uint8)) for n in NAMES}
    board = given_board(make_story(), given, 5, (SIDE, SIDE))
    assert pictures(board).shape == (3, 2, SIDE, SIDE, 3)
    assert all(shot.source == "given" and shot.memory == () for shot in board.shots)
    assert (board.shots[0].pair.start != board.shots[0].pair.end).any()


def test_unknown_words_are_named_at_once_with_near_ones(models: Models):
    story = make_story(last="Tom dances left on the beech, bravo.")
    with pytest.raises(InputError) as caught:
        check_words(models, story, "a.json")
    message = str(caught.value)
    assert message.startswith("a.json: ") and "\n" not in message
    assert all(word in message for word in ("dances", "beech (near: beach", "bravo")) and "tom" not in message
    check_words(models, make_story(), "a.json")


def test_captions_that_are_too_long_are_named_with_count_and_limit(models: Models):
    longest = models.captions.tokenizer.longest
    check_words(models, make_story(last="left " * longest), "a.json")
    with pytest.raises(InputError) as caught:
        check_words(models, make_story(last="left " * (longest + 3)), "a.json")
    expected = f"captions longer than the {longest} words and marks that the model reads: SC02_SH010 ({longest + 3})"
    assert str(caught.value) == f"a.json: {expected}"


def test_weights_that_do_not_fit_are_refused(tmp_path: Path):
    folder = write_models(tmp_path / "model")
    _, params = read_part(folder, "step2", DiTConfig)
    write_part(folder, "step2", dataclasses.replace(sizes.STEP2, ffn_dim=18), params, sampling=SAMPLING)
    with pytest.raises(InputError, match="step2: weights that do not fit the config in model.json: blocks.0.ffn") as caught:
        load_models(folder)
    assert "\n" not in str(caught.value)
    assert load_models(folder, draw=False).step2 is None  # not needed where all pairs are given
    write_part(folder, "step2", sizes.STEP2, params)
    with pytest.raises(InputError, match="step2.sampling: steps, shift, guidance, size missing"):
        load_models(folder)
    write_part(folder, "dit", *read_part(folder, "dit", DiTConfig), sampling=SAMPLING)
    with pytest.raises(InputError, match="dit.sampling: frames missing"):  # it reads words, so it is none of Wan's
        load_models(folder, draw=False)


def test_stacked_layers_are_read(folder: Path, tmp_path: Path):
    """Weights lie unstacked in a folder, also those of a model that scans its layers."""
    other = write_models(tmp_path / "model")
    config, params = read_part(other, "step2", DiTConfig)
    write_part(other, "step2", dataclasses.replace(config, scan_layers=True), params, sampling=SAMPLING)
    assert not hasattr(load_models(other).step2.dit.blocks, "__len__")


def test_step2_of_another_folder(folder: Path, tmp_path: Path):
    """Taken if the VAE and the text encoder that it was trained with are the same."""
    same = write_models(tmp_path / "same")
    assert load_models(folder, same).hashes == load_models(folder).hashes
    other = write_models(tmp_path / "other", seed=1)
    with pytest.raises(InputError, match="trained with another vae than"):
        load_models(folder, other)
