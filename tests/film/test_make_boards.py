"""Boards without clips, of one story and of several, on models of random weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from stage_jax.cli.main import main
from stage_jax.errors import InputError
from stage_jax.film.make_boards import make_boards
from stage_jax.story.pairs import read_picture
from stage_jax.story.types import story_to_json
from tests.film.test_make import Said
from tests.generate.models import make_story, write_models

NAMES = ["SC01_SH010", "SC01_SH020", "SC02_SH010"]
FILES = {
    "story.json", "board.html", "manifest.json", "sheet.png",
    *(f"frames/{name}_{which}.png" for name in NAMES for which in ("start", "end")),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("boards")
    write_models(folder / "model")
    for name, last in (("one", "Tom walks left."), ("two", "The wood."), ("strange", "Tom dances.")):
        (folder / f"{name}.json").write_text(json.dumps(story_to_json(make_story(last=last))))
    (folder / "other").mkdir()
    (folder / "other" / "one.json").write_bytes((folder / "one.json").read_bytes())
    return folder


def files_of(folder: Path) -> set[str]:
    found = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    return {file.as_posix() for file in found if ".work" not in file.parts}


def test_boards_of_several_stories(place: Path, tmp_path: Path):
    """A folder each, all that a board has, the same bytes as alone by the command."""
    said = Said()
    boards = make_boards([place / "one.json", place / "two.json"], tmp_path / "out", said, model=place / "model", seed=3)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"one", "two"}
    assert files_of(tmp_path / "out" / "one") == FILES
    assert said.steps[-1] == ("pairs of two", 3, 3) and not said.lines
    for board, name in zip(boards, ("one", "two"), strict=True):
        for shot in board.shots:
            drawn = read_picture(tmp_path / "out" / name / "frames" / f"{shot.name}_end.png")
            np.testing.assert_array_equal(drawn, shot.pair.end)
    facts = json.loads((tmp_path / "out" / "two" / "manifest.json").read_text())
    assert set(facts["models"]) == {"vae", "umt5", "step2"} and set(facts["files"]) == FILES - {"board.html", "manifest.json"}
    assert facts["shots"][2]["clip"] is None and facts["shots"][2]["pair"]["by"] == "step2"

    alone = ["board", str(place / "two.json"), "--out", str(tmp_path / "alone"), "--model", str(place / "model"), "--seed", "3"]
    assert main(alone) == 0
    for name in FILES:
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "out" / "two" / name).read_bytes(), name


def test_wrong_stories(place: Path, tmp_path: Path):
    with pytest.raises(InputError, match=r"strange.json: words that the tiny model does not know: dances"):
        make_boards([place / "strange.json"], tmp_path / "out", Said(), model=place / "model")
    with pytest.raises(InputError, match="stories: found 'one' more than once"):
        make_boards([place / "one.json", place / "other" / "one.json"], tmp_path / "out", Said(), model=place / "model")
    assert not (tmp_path / "out").exists()
