from __future__ import annotations

import errno
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stage_jax.film import sheet
from stage_jax.film.png import fit, png_bytes, write_png
from stage_jax.film.sheet import contact_sheet
from stage_jax.story.board import Board
from tests.film.boards import make_board


def test_a_png_keeps_every_pixel_and_its_bytes_are_the_same_again(tmp_path: Path) -> None:
    image = np.random.default_rng([1]).integers(0, 256, (48, 80, 3), dtype=np.uint8)
    write_png(tmp_path / "a.png", image)
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    assert (tmp_path / "a.png").read_bytes() == png_bytes(image.copy(order="F"))


def test_a_png_holds_nothing_but_the_picture() -> None:
    data = png_bytes(np.zeros((8, 8, 3), np.uint8))
    assert not any(chunk in data for chunk in (b"tIME", b"tEXt", b"iTXt", b"eXIf"))
    assert Image.open(io.BytesIO(data)).mode == "RGB"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="a.png"):
        write_png(tmp_path / "a.png", np.zeros((8, 8, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_fit_makes_smaller_and_never_larger() -> None:
    image = np.zeros((480, 832, 3), np.uint8)
    assert fit(image, 96).shape == (55, 96, 3)
    assert fit(image, 832) is image


def test_the_sheet_shows_every_pair_in_its_place(board: Board) -> None:
    sheet = contact_sheet(board, columns=3)
    assert sheet.dtype == np.uint8
    for index, shot in enumerate(board.shots):
        # 64 -> 192 pixels: found where the layout puts it, pixel for pixel
        top = 100 + index // 3 * (192 + 74 + 28)
        left = 40 + index % 3 * (2 * 192 + 6 + 28)
        assert np.array_equal(sheet[top + 1 : top + 192 : 3, left + 1 : left + 192 : 3], shot.pair.start)
        assert np.array_equal(sheet[top + 1 : top + 192 : 3, left + 199 : left + 390 : 3], shot.pair.end)
    assert np.array_equal(sheet, contact_sheet(make_board(), columns=3))


def test_a_sheet_has_room_for_so_many_pairs(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of six, where four have room, the first four, under a line that says so."""
    monkeypatch.setattr(sheet, "MOST", 4)
    first, whole = contact_sheet(replace(board, shots=board.shots[:4])), contact_sheet(board)
    assert first.shape == whole.shape
    np.testing.assert_array_equal(first[100:], whole[100:])
    assert (first[:100] != whole[:100]).any()


def test_the_words_are_on_the_sheet(board: Board) -> None:
    """Another caption changes the sheet under its own pair and nowhere else."""
    shots = (*board.shots[:1], replace(board.shots[1], caption="Something else entirely."), *board.shots[2:])
    rows, columns = np.nonzero((contact_sheet(board) != contact_sheet(replace(board, shots=shots))).any(-1))
    assert rows.min() > 100 + 192 and rows.max() < 100 + 192 + 74
    assert columns.min() >= 40 + 2 * 192 + 34 and columns.max() < 40 + 2 * (2 * 192 + 34)


def test_a_sheet_of_nothing_and_of_large_frames(board: Board) -> None:
    assert contact_sheet(replace(board, shots=())).shape[1] >= 400
    large = np.zeros((480, 832, 3), np.uint8)
    shot = replace(board.shots[0], pair=replace(board.shots[0].pair, start=large, end=large))
    assert contact_sheet(replace(board, shots=(shot,))).shape[1] == 2 * 40 + 2 * 333 + 6
