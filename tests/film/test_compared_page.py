"""True and drawn boards on one page, and the tool that makes it."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from data_pipeline.toy_cinema.scores import Outcome
from data_pipeline.toy_records import write_toy_records
from stage_jax.film.compared_page import ComparedBoard, ComparedShot, compared_page
from tests.tools import load_tool

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def program():
    return load_tool("compare_boards")


def test_the_page_shows_both_pairs_and_names_faults():
    pair = np.zeros((2, 8, 8, 3), np.uint8)
    shots = [ComparedShot("SH010", EVIL, pair, pair, []), ComparedShot("SH020", "b", pair, pair, [EVIL, "end: hat fez"])]
    page = compared_page("Boards", "how", [ComparedBoard("Story 1", shots)])
    assert page.count("<img") == 8 and page.count("<script") == 0 and page.count("&lt;script&gt;") == 2
    assert "1 of 2 shots with faults" in page and "all of 1 as the story has it" in page
    assert page.index("drawn, end") < page.index("end: hat fez")


def test_frames_are_marked_where_something_is_read_otherwise(program):
    """Positions and motions are left to the eye."""
    found = [
        Outcome(1, "end", "hat", "mia", "fez", "cap", True, 1.0),
        Outcome(1, "start", "place", "", "beach", "beach", True, 0.0),
        Outcome(0, "start", "position", "mia", "1,2", "5,6", False, 5.0),
    ]
    assert program.faults(found, 0) == {}
    assert program.faults(found, 1) == {"mia: hat cap, where the story has fez": {1}}
    marked = program.framed(np.zeros((2, 2, 8, 8, 3), np.uint8), found)
    assert not marked[0].any() and not marked[1, 0].any()
    assert (marked[1, 1][[0, -1]] == program.FRAME).all() and not marked[1, 1][2:-2, 2:-2].any()


@pytest.mark.slow
def test_the_shipped_model_beside_the_truth(program, tmp_path, capsys):
    write_toy_records(tmp_path / "toy", {"test": 1}, seed=19)
    arguments = ["--data", str(tmp_path / "toy"), "--out", str(tmp_path / "out"), "--stories", "1", "--shots", "2"]
    assert program.main(arguments) == 0
    assert "1 boards, 0 of 2 shots with faults" in capsys.readouterr().out
    assert (tmp_path / "out" / "boards.html").read_text(encoding="utf-8").count("<img") == 8
    with Image.open(tmp_path / "out" / "boards.png") as picture:
        assert picture.height > 2 * 64 and picture.width > 4 * 64
    assert program.main([*arguments[2:], "--data", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.startswith("compare_boards: ")
