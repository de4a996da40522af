"""References of characters: which are read, how they are brought to the model's size, and where they are of no use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stage_jax.errors import InputError
from stage_jax.film.make import make_film
from stage_jax.film.make_boards import make_boards
from stage_jax.film.png import write_png
from stage_jax.film.references import NO_MEMORY, NOTHING_DRAWN, read_references, unused_references
from stage_jax.models.dit import DiTConfig
from stage_jax.story.pairs import read_picture
from stage_jax.story.readers import read_story
from stage_jax.story.types import Character, Story, story_to_json
from stage_jax.weights.folder import read_part, write_part
from tests.film.test_make import NAMES, Said
from tests.generate.models import SAMPLING, make_story, write_models
from tests.training import sizes

SIDE = sizes.SIDE


def cast(**references: tuple[str, ...]) -> Story:
    """Mia, Tom and Ada, whom no shot names."""
    who = [Character(name, name.title(), references=references.get(name, ())) for name in ("mia", "tom", "ada")]
    return replace(make_story(), characters=tuple(who))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("references")
    write_models(folder / "model")
    rng = np.random.default_rng(0)
    for name in ("mia", "tom", "ada"):
        write_png(folder / f"{name}.png", rng.integers(0, 256, (SIDE, SIDE // 2, 3), dtype=np.uint8))
    return folder


def test_those_of_characters_that_a_shot_names_are_read_whole(place: Path):
    story = cast(ada=("ada.png",), tom=("tom.png", "mia.png"), mia=("mia.png",))
    found = read_references(story, place, (SIDE, SIDE))
    assert [(each.character, each.number) for each in found] == [("mia", 1), ("tom", 1), ("tom", 2)]
    middle = np.s_[:, SIDE // 4 : SIDE // 4 + SIDE // 2]
    for each, name in zip(found, ("mia", "tom", "mia"), strict=True):
        assert each.picture.shape == (SIDE, SIDE, 3)
        np.testing.assert_array_equal(each.picture[middle], read_picture(place / f"{name}.png"))
    (place / "text.png").write_text("<svg/>")
    with pytest.raises(InputError, match=r"text.png: not a picture that can be read"):
        read_references(cast(mia=("text.png",)), place, (SIDE, SIDE))
    assert read_references(cast(ada=("text.png",)), place, (SIDE, SIDE)) == ()


def test_those_that_have_no_say_are_named():
    story = cast(ada=("a.png",), mia=("b.png",))
    assert list(unused_references(cast(mia=("b.png",)), "")) == list(unused_references(cast(), NO_MEMORY)) == []
    assert list(unused_references(story, "")) == ["left out the references of ada: no shot names them"]
    assert list(unused_references(story, NO_MEMORY)) == ["left out the references of mia, ada: the model has no memory"]
    many = replace(story, characters=tuple(Character(f"c{i}\n", "", references=("a.png",)) for i in range(1010)))
    (line,) = unused_references(many, "")
    assert line.endswith("c7? and 1,002 more: no shot names them") and "\n" not in line


def test_given_pairs_leave_them_out_and_say_so(place: Path, tmp_path: Path):
    (place / "given.json").write_text(json.dumps(story_to_json(cast(mia=("mia.png",)))))
    for name in NAMES:
        for which in ("start", "end"):
            write_png(tmp_path / f"{name}_{which}.png", np.zeros((SIDE, SIDE, 3), np.uint8))
    said = Said()
    board = make_film(place / "given.json", tmp_path / "out", said, model=place / "model", pairs=tmp_path)
    assert said.lines == [f"warning: {place / 'given.json'}: left out the references of mia: {NOTHING_DRAWN}"]
    assert board.references == ()


def test_a_board_says_which_are_left_out(place: Path, tmp_path: Path):
    (place / "two.json").write_text(json.dumps(story_to_json(cast(mia=("mia.png",), ada=("ada.png",)))))
    said = Said()
    (board,) = make_boards([place / "two.json"], tmp_path / "out", said, model=place / "model")
    assert said.lines == [f"warning: {place / 'two.json'}: left out the references of ada: no shot names them"]
    assert [each.character for each in board.references] == ["mia"]

    config, params = read_part(place / "model", "step2", DiTConfig)
    write_models(tmp_path / "forgetful")
    how = SAMPLING | {"size": list(SAMPLING["size"]), "recipe": {"packing": "off"}}
    write_part(tmp_path / "forgetful", "step2", config, params, sampling=how)
    said = Said()
    (board,) = make_boards([place / "two.json"], tmp_path / "none", said, model=tmp_path / "forgetful")
    assert said.lines == [f"warning: {place / 'two.json'}: left out the references of mia, ada: {NO_MEMORY}"]
    assert board.references == ()


def test_pictures_of_vistorybench_are_references(place: Path, tmp_path: Path):
    """They lie in image/KEY, and its shots name characters by their names."""
    folder = tmp_path / "bench"
    (folder / "image" / "M").mkdir(parents=True)
    for number, name in enumerate(("mia", "tom")):
        (folder / "image" / "M" / f"{number}.jpg").write_bytes((place / f"{name}.png").read_bytes())
    both = {"en": "Mia walks left on the beach.", "zh": "米娅"}
    shot = {"index": 1, "Plot Correspondence": both, "Setting Description": {"en": "beach"},
            "Characters Appearing": {"en": ["Mia"]}, "Static Shot Description": both}  # fmt: skip
    value = {"Characters": {"M": {"name_en": "Mia", "prompt_en": "", "tag": "realistic_human"}}, "Shots": [shot]}
    (folder / "story.json").write_text(json.dumps(value))
    assert read_story(folder / "story.json").characters[0].references == ("image/M/0.jpg", "image/M/1.jpg")
    (board,) = make_boards([folder / "story.json"], tmp_path / "out", Said(), model=place / "model")
    assert {(entry.character, entry.number) for entry in board.shots[0].memory} == {("M", 1), ("M", 2)}
    page, told = (tmp_path / "out" / "board.html").read_text(), json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert "reference 2 of Mia" in page
    assert {(e["reference"], e["number"]) for e in told["shots"][0]["inputs"]["pack"]} == {("M", 1), ("M", 2)}
