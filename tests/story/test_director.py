"""The director: by rules, and out of a model's shot table."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from stage_jax.errors import InputError
from stage_jax.story.director import direct_story, direct_theme
from stage_jax.story.table import story_of
from stage_jax.story.types import Scene, Shot, Story
from stage_jax.story.vocabulary import ANGLES, SIZES

THEME = "Mia waits at the station. A train comes in the rain. Tom steps off and sees Mia. They walk along the river."
TABLE = {
    "title": "The Ferry",
    "overview": "A late ferry.",
    "characters": [{"name": "Mia", "description": "a girl in red"}, {"name": "Old Tom", "description": "a ferryman"}],
    "locations": [{"name": "Pier", "description": "a wooden pier"}],
    "scenes": [
        {
            "heading": "EXT. PIER - DAY",
            "location": "pier",
            "shots": [
                {"description": "Mia waits.", "size": "long", "angle": "eye level", "movement": "static",
                 "characters": ["Mia"], "seconds": 4, "start": "Mia alone", "end": "Mia looks up", "dialogue": ""},
                {"description": "Old Tom waves.", "size": "close-up", "angle": "low", "movement": "pan left",
                 "characters": ["old tom"], "seconds": 2.5, "start": "", "end": "", "dialogue": "Tom: Ahoy!"},
            ],
        }
    ],
}  # fmt: skip


def test_a_theme_becomes_a_shot_table() -> None:
    story = direct_theme(THEME, "theme.txt")
    shots = [shot for _, shot in story.shots()]
    assert [who.name for who in story.characters] == ["Mia", "Tom"]
    assert [place.name for place in story.locations] == ["Station", "River"]
    assert [shot.description for shot in shots] == THEME.replace(". ", ".|").split("|")
    assert [shot.characters for shot in shots] == [("mia",), (), ("tom", "mia"), ("tom", "mia")]
    assert [len(scene.shots) for scene in story.scenes] == [3, 1]
    assert all(shot.size in SIZES and shot.angle in ANGLES and 2 <= shot.seconds <= 10 for shot in shots)
    assert story == direct_theme(THEME, "theme.txt")


def test_few_sentences_are_covered_from_afar_and_close() -> None:
    story = direct_theme("an old lighthouse keeper climbs the tower", "x")
    assert [shot.size for _, shot in story.shots()] == ["long", "medium", "close-up"]
    assert next(story.shots())[1].description == "Long shot. An old lighthouse keeper climbs the tower"
    assert [who.name for who in story.characters] == ["old lighthouse keeper"]


def test_a_screenplay_keeps_what_it_says() -> None:
    scene = Scene("SC01", shots=(
        Shot("SH010", "A valley. The camera pans to the left."),
        Shot("SH020", "Angle on Mia, from below.", size="full"),
        Shot("SH030", "Tom turns.", dialogue="Tom: " + "word " * 12, seconds=9.0),
        Shot("SH040", "Mia smiles.", dialogue="Mia: " + "word " * 12),
    ))  # fmt: skip
    shots = direct_story(Story("t", scenes=(scene,))).scenes[0].shots
    assert [(shot.size, shot.angle, shot.movement) for shot in shots] == [
        ("long", "eye level", "pan left"), ("full", "low", "static"), ("medium", "eye level", "static"),
        ("close-up", "eye level", "static"),
    ]  # fmt: skip
    assert [shot.seconds for shot in shots] == [2.0, 2.0, 9.0, 5.5]
    assert [shot.description for shot in shots] == [shot.description for shot in scene.shots]


def test_what_is_plain_is_repaired() -> None:
    odd = copy.deepcopy(TABLE)
    odd["more"] = 1
    shots = odd["scenes"][0]["shots"]
    shots[0] |= {"size": "Wide Shot", "angle": "from the moon", "seconds": 900, "characters": ["Mia", "MIA", "Crow"]}
    shots.insert(1, {"description": " "})
    odd["scenes"].append({"shots": []})
    story, repairs = story_of(odd, "x")
    first, second = (shot for _, shot in story.shots())
    assert (first.size, first.angle, first.seconds, first.characters) == ("long", "", 20.0, ("mia", "crow"))
    assert second.id == "SH020" and len(story.scenes) == 1 and story.characters[-1].name == "Crow"
    assert [line.partition(": ")[0] for line in repairs] == [
        "scenes[0].shots[0].characters", "scenes[0].shots[0].size", "scenes[0].shots[0].angle", "scenes[0].shots[0].seconds",
        "scenes[0].shots[1]",
    ]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), [
    ([], "expected an object"), ({"scenes": None}, "scenes: found nothing, expected a list"),
    ({"scenes": []}, "found 0 shots"), (TABLE | {"title": 3}, "title: found the number 3"),
    (TABLE | {"characters": [3]}, "characters[0]: found the number 3"),
    ({"scenes": [{"shots": [{"description": "x", "seconds": "soon"}]}]}, "shots[0].seconds: found"),
])  # fmt: skip
def test_what_is_no_shot_table_is_refused(value: Any, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        story_of(value, "the shot table")
    assert expected in str(caught.value)
