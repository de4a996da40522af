"""Stories in the toy world's words are read back."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from data_pipeline.toy_cinema import captions, world
from data_pipeline.toy_cinema.parse import toy_from_story
from data_pipeline.toy_cinema.scores import story_outcomes, true_pairs
from data_pipeline.toy_cinema.written import to_story
from stage_jax.errors import InputError
from stage_jax.story.types import Scene, Shot, Story


def story(*descriptions: str, heading: str = "EXT. ELM HILL - NIGHT") -> Story:
    shots = tuple(Shot(id=f"SH{10 * (i + 1):03d}", description=d) for i, d in enumerate(descriptions))
    return Story(title="Test", scenes=(Scene(id="SC01", heading=heading, shots=shots),))


FIRST = "Mia, a red square with a crown, walks left. A night sky over snow with a house."


@pytest.mark.parametrize("described", [True, False])
def test_a_drawn_story_is_read_back(described):
    for seed in range(150):
        toy = world.random_story(seed)
        written = to_story(toy)
        if not described:  # from the captions alone
            written = dataclasses.replace(written, characters=(), locations=())
            scenes = tuple(dataclasses.replace(scene, location="") for scene in written.scenes)
            written = dataclasses.replace(written, scenes=scenes)
        read = toy_from_story(written)
        assert (read.characters, read.places) == (toy.characters, toy.places)
        for a, b in zip(read.shots, toy.shots, strict=True):
            assert (a.characters, a.place, a.size, a.action) == (b.characters, b.place, b.size, b.action)
            assert np.argmin(a.x) == np.argmin(b.x)


def test_a_screenplay_in_a_persons_words():
    toy = toy_from_story(
        story(
            FIRST,
            "Close shot: Mia jumps!",
            "Bo (a blue circle with a fez) goes to the right, at elm hill.",
            "Bo jumps. Mia stands on the left.",
            "Mia walks right, with Bo.",
        )
    )
    assert toy.characters == (
        world.ToyCharacter("mia", "square", "red", "crown"),
        world.ToyCharacter("bo", "circle", "blue", "fez"),
    )
    assert toy.places == (world.ToyPlace("elm hill", "night"),)
    assert [(s.characters, s.size, s.action) for s in toy.shots] == [
        ((0,), "wide", "walk left"),
        ((0,), "close", "jump"),
        ((1,), "wide", "walk right"),
        ((1, 0), "wide", "jump"),
        ((0, 1), "wide", "walk right"),
    ]
    assert toy.shots[3].x[1] < toy.shots[3].x[0]  # Mia is on the left, and stays there
    assert toy.shots[4].x[0] < toy.shots[4].x[1]
    assert all(o.error == 0 for o in story_outcomes(toy, true_pairs(toy)) if o.attribute != "position")
    assert all(captions.unknown_words(line) == () for line in captions.story_captions(toy))


@pytest.mark.parametrize(
    ("descriptions", "message"),
    [
        (["A dragon walks left."], "SC01_SH010: found unknown words 'dragon'"),
        ([FIRST, "Mia stands still at elm hill."], "SC01_SH020: found no action"),
        (["A red square walks left."], "SC01_SH010: found nobody"),
        (["Mia walks left. A night sky over snow with a house."], "'mia' with no description"),
        (["Mia, a red square with a crown, walks left."], "place 'elm hill' with no description"),
        (["Mia, a red square with a crown, jumps. A night sky over grass with a tree."], "mixes several"),
        ([FIRST, "Mia, a blue square with a crown, jumps."], "expected a red square with a crown, as before"),
        ([FIRST, "Mia jumps. A day sky over grass with a tree."], "expected a night place, as before"),
        ([FIRST, "Mia walks left. Bo and Leo are here."], "expected 1 to 2 characters"),
    ],
)
def test_what_cannot_be_read_is_named(descriptions, message):
    with pytest.raises(InputError) as caught:
        toy_from_story(story(*descriptions))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_story_without_shots_is_refused():
    with pytest.raises(InputError, match="no shots"):
        toy_from_story(story())
