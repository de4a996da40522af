"""Predicting a film's next shot: what the measures tell, what a drawn pair depends on, and what it must not."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from stage_jax.evaluation.nearness import TRUE, change, clip_figures, coarse, pair_figures, ways_table
from stage_jax.evaluation.next_shot import (
    DRAWN,
    Artist,
    FilmShots,
    clip_ways,
    copied,
    drawn_pairs,
    known_text,
    mean_picture,
    nearest_frames,
    pair_ways,
)
from stage_jax.evaluation.next_shot_report import report_next_shot
from stage_jax.generate.models import load_models
from stage_jax.models.tokenizer import WordTokenizer
from tests.generate.models import FRAMES, make_story, write_models
from tests.training import sizes

LAST = 2


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)


def values(figures: list) -> dict[tuple[str, str], float]:
    return {(figure.what, figure.measure): figure.value for figure in figures}


def test_every_measure_tells_what_it_says():
    """Of noise: a copy is perfect by all, the same pixels elsewhere by their colours alone, their mean by its cells alone."""
    truth = noise(2, 64, 64)
    elsewhere = np.random.default_rng(1).permutation(truth.reshape(2, -1, 3), axis=1).reshape(truth.shape)
    means = np.repeat(np.repeat(coarse(truth), 8, axis=1), 8, axis=2)
    found = values(pair_figures("pair", {"copy": truth[None], "elsewhere": elsewhere[None], "means": means[None]}, truth))
    for end in ("start", "end"):
        psnr, cells, colours = ({way: found[way, f"{end}: {m}"] for way in ("copy", "elsewhere", "means")}
                                for m in ("PSNR", "PSNR of 8x8", "colours"))  # fmt: skip
        assert psnr["copy"] == cells["copy"] == 100 and psnr["elsewhere"] < psnr["means"] < 15
        assert cells["means"] == 100 and cells["elsewhere"] < 30
        assert colours["copy"] == colours["elsewhere"] == pytest.approx(1) and colours["means"] < 0.5
    assert found["copy", "change"] == found[TRUE, "change"] == pytest.approx(np.abs(truth[0] - truth[1].astype(float)).mean())
    assert change(copied(truth[0])) == [0]


def test_a_table_has_a_row_for_every_way_and_errors_of_several_draws():
    truth = noise(2, 16, 16)
    ways = {"one": truth[None], "three": noise(3, 2, 16, 16, seed=1)}
    lines = ways_table(pair_figures("pair", ways, truth)).splitlines()
    assert lines[0].startswith("|  | n | start: PSNR | start: PSNR of 8x8 | start: colours | end: PSNR") and len(lines) == 5
    assert lines[2].startswith("| one | 1 | 100.0 | 100.0 | 1.00 |") and "±" not in lines[2]
    assert lines[3].startswith("| three | 3 |") and lines[3].count("±") == 7
    assert lines[4] == f"| {TRUE} | 1 | – | – | – | – | – | – | {change(truth[None])[0]:.1f} |"
    clip = noise(5, 16, 16)
    other = clip.copy()
    other[2] = noise(16, 16, seed=2)
    found = values(clip_figures("clip", {"other": other[None]}, clip))
    assert found["other", "first frame: PSNR"] == found["other", "last frame: PSNR"] == 100
    assert 60 < found["other", "inner frames: PSNR"] < 80  # the mean of 100, about 8, 100


def test_copies():
    frames, truth = noise(3, 16, 16), noise(2, 16, 16, seed=1)
    near = [np.clip(frames[i].astype(int) + 3, 0, 255).astype(np.uint8) for i in (2, 0)]
    np.testing.assert_array_equal(nearest_frames(frames, np.stack(near))[0], frames[[2, 0]])
    np.testing.assert_array_equal(copied(truth[0])[0], truth[[0, 0]])
    np.testing.assert_allclose(mean_picture(truth), truth.astype(float).mean(0), atol=0.5)
    assert known_text(WordTokenizer(("a", "red", ","), 9), "A red, pink bear") == "a red ,"


@pytest.fixture(scope="module")
def artist(tmp_path_factory: pytest.TempPathFactory) -> Artist:
    sizes.small_zoo()
    return Artist(load_models(write_models(tmp_path_factory.mktemp("models") / "model")))


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory, artist: Artist) -> Artist:
    return Artist(load_models(write_models(tmp_path_factory.mktemp("shipped") / "model", seed=1)))


@pytest.fixture(scope="module")
def film() -> FilmShots:
    return FilmShots(make_story(), noise(3, FRAMES, sizes.SIDE, sizes.SIDE))


def test_a_drawn_pair_hangs_on_what_came_before_and_never_on_the_answer(artist: Artist, film: FilmShots):
    """Memory of true pairs, caption and seed change it; the true pictures of the shot do not."""
    draw = lambda film, **changes: drawn_pairs(artist, film, LAST, [0, 1], **changes)  # noqa: E731
    first = draw(film)
    assert first.shape == (2, 2, sizes.SIDE, sizes.SIDE, 3) and (first[0] != first[1]).any()
    answer = film.clips.copy()
    answer[LAST] = 255 - answer[LAST]
    np.testing.assert_array_equal(draw(dataclasses.replace(film, clips=answer)), first)
    earlier = film.clips.copy()
    earlier[0] = 255 - earlier[0]
    changed = dataclasses.replace(film, clips=earlier)
    assert (draw(changed) != first).any() and (draw(film, memory=False) != first).any()
    np.testing.assert_array_equal(draw(changed, memory=False), draw(film, memory=False))
    other = dataclasses.replace(film, story=make_story(last="Mia walks right on the beach."))
    assert (draw(other) != first).any() and (draw(film, caption=False) != first).any()
    strange = dataclasses.replace(film, story=make_story(last="Tom walks left purple on the beach."))
    np.testing.assert_array_equal(draw(strange), first)  # but for a word that it does not know
    assert artist.draw.programs() == 1


def test_every_way_gives_pairs_and_clips(artist: Artist, shipped: Artist, film: FilmShots):
    pairs = pair_ways(artist, shipped, film, LAST, [0, 1])
    assert {way: len(made) for way, made in pairs.items() if len(made) > 1} == dict.fromkeys(
        (DRAWN, "drawn, no memory", "drawn, memory, no caption", "drawn by the shipped model, memory"), 2
    )
    np.testing.assert_array_equal(pairs["copy of the last frame"][0], film.clips[1][[-1, -1]])
    assert (pairs[DRAWN] != pairs["drawn by the shipped model, memory"]).any()
    clips = clip_ways(artist, shipped, film, LAST, pairs[DRAWN][0], [0, 1])
    assert {made.shape[1:] for made in clips.values()} == {film.clips.shape[1:]}
    assert (clips["filler, true pair"][0] != clips["filler, drawn pair"][0]).any()
    assert (clips["filler, true pair"][0] != clips["filler, true pair"][1]).any()
    assert len(clip_figures("clip", clips, film.clips[LAST])) == 3 * len(clips)


def test_a_report_tells_of_every_shot_what_was_measured(artist: Artist, shipped: Artist, film: FilmShots):
    """Tables of the last shot's pair and clip, and of the pairs seen; rows of the sheets for every way."""
    names = ["A", "B", "C"]
    found = report_next_shot(artist, shipped, film, names, draws=2)
    assert list(found.tables) == [
        "The pair of C, not seen in training", "The pair of A, seen in training", "The pair of B, seen in training",
        "The clip of C, not seen in training",
    ]  # fmt: skip
    pairs = pair_ways(artist, shipped, film, LAST, [0, 1])
    assert found.tables["The pair of C, not seen in training"] == pair_figures("pair", pairs, film.pairs[LAST])
    text = found.markdown()
    assert text.count("| n |") == 4 and text.startswith("The pair of C, not seen in training:\n\n|  | n | start: PSNR |")
    rows = [(sheet.shape[0] - 32) / (2 * sizes.SIDE + 4) for sheet in (found.pairs, found.clips)]
    assert rows == [3 + 2 + 1 + len(pairs), 1 + 6]
