"""An edited board on the page: its candidates, what is kept, and whether all of it can be read and reached on any screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from stage_jax.film.video import write_mp4
from stage_jax.story.board import Board, Candidate, Pair
from tests.film.boards import make_board, picture
from tests.film.browser import CHROMIUM, browser
from tests.film.browser import Page as Browsed
from tests.film.test_html import Page, decoded, page

TAKEN = {"SC01_SH020": 2, "SC02_SH010": 1}


def edited() -> Board:
    """Two shots with three candidates each, one of which is the shot's pair, and a locked one that was kept."""
    board, shots = make_board(), []
    for shot in board.shots:
        if shot.shot.locked:
            shot = replace(shot, source="kept")
        if shot.name in TAKEN:
            three = tuple(Candidate(n, 70 + n, Pair(picture(0.3 * n, 0.1), picture(0.3 * n, 0.9))) for n in (1, 2, 3))
            shot = replace(shot, candidates=three, take=TAKEN[shot.name], pair=three[TAKEN[shot.name] - 1].pair)
        shots.append(shot)
    return replace(board, shots=tuple(shots))


def test_candidates_are_shown_with_what_it_takes_to_choose_them() -> None:
    board = edited()
    seen = Page(page(board))
    for shot in board.shots:
        for other in shot.candidates:
            for which in ("start", "end"):
                (found,) = seen.find("img", alt=f"{shot.name}, candidate {other.number}, {which} frame")
                assert np.array_equal(decoded(found["src"]), getattr(other.pair, which))
            assert (f"--take {shot.name}={other.number}" in seen.words) == (other.number != shot.take)
    assert seen.words.count("taken") == 2 and seen.words.count("seed 72") == 2
    assert len(seen.find("li", class_="candidate chosen")) == 2 and len(seen.find("li", class_="candidate")) == 4
    assert "kept as it was · locked" in seen.words
    assert "candidate" not in Page(page(make_board())).words


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browsed, Path]]:
    if not os.path.exists(CHROMIUM):
        pytest.skip("Chromium is not installed (Debian: chromium)")
    folder = tmp_path_factory.mktemp("browser")
    board = edited()
    write_mp4(folder / "clip.mp4", board.shots[0].clip.read(), board.fps, scale=2)
    mp4 = (folder / "clip.mp4").read_bytes()
    (folder / "board.html").write_text(page(board, mp4, {shot.name: mp4 for shot in board.shots}), encoding="utf-8")
    with browser(folder / "profile") as browsed:
        yield browsed, folder / "board.html"


FRAMES = (
    "[...document.querySelectorAll('.candidate')]"
    ".map(c => [c, ...c.querySelectorAll('img')].map(e => e.getBoundingClientRect())"
    ".map(b => [b.left, b.top, b.right, b.bottom]))"
)
TARGETS = (
    "[...document.querySelectorAll('button, a, summary, [role=button]')].map(e => e.getBoundingClientRect())"
    ".map(b => Math.min(b.width, b.height))"
)
# Of every element that has text of its own: the size of its letters, and the contrast to what is behind it (WCAG 2.2, 1.4.3).
TEXTS = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => numbers(colour).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const colour = getComputedStyle(e).backgroundColor;
      if ((numbers(colour)[3] ?? 1) > 0) return colour;
    }
    throw new Error("nothing behind " + element.outerHTML);
  };
  const found = [];
  for (const e of document.body.querySelectorAll("*")) {
    const told = [...e.childNodes].some((n) => n.nodeType === Node.TEXT_NODE && n.textContent.trim());
    if (!told || e.tagName === "SCRIPT" || !e.checkVisibility()) continue;
    const [one, other] = [light(getComputedStyle(e).color), light(behind(e))];
    const contrast = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
    found.push([e.className || e.tagName, parseFloat(getComputedStyle(e).fontSize), contrast]);
  }
  return found;
})()"""


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_all_can_be_read_and_reached(shown: tuple[Browsed, Path], width: int, dark: bool) -> None:
    browsed, file = shown
    browsed.open(file, width, dark=dark)
    assert browsed.value("document.documentElement.scrollWidth") == width
    assert browsed.value("[...document.querySelectorAll('article img, video')].every(e => e.alt || e.ariaLabel)")
    boxes = np.array(browsed.value(FRAMES))
    across, down = boxes[:, 1:, 2] - boxes[:, 1:, 0], boxes[:, 1:, 3] - boxes[:, 1:, 1]
    assert boxes.shape == (6, 3, 4) and np.ptp(across) < 1 and np.abs(across - down).max() < 1 and across.min() > 55
    assert (boxes[:, 1, 2] <= boxes[:, 2, 0]).all() and (boxes[:, 1:, 2] <= boxes[:, :1, 2]).all()  # side by side, within
    assert min(browsed.value(TARGETS)) >= 24  # WCAG 2.2, 2.5.8
    texts = browsed.value(TEXTS)
    assert len(texts) > 100
    assert [text for text in texts if text[1] < 11] == [] and [text for text in texts if text[2] < 4.5] == []


@pytest.mark.slow
def test_a_candidate_is_looked_at_in_the_large_frames(shown: tuple[Browsed, Path]) -> None:
    browsed, file = shown
    browsed.open(file, 1280)
    shot = "document.getElementById('SC01_SH020')"
    large = f"[...{shot}.querySelectorAll('.pair img')].map(i => i.src)"
    candidate = f"{shot}.querySelectorAll('.candidate')"
    own = browsed.value(large)
    of_third = browsed.value(f"[...{candidate}[2].querySelectorAll('img')].map(i => i.src)")
    assert own != of_third
    browsed.value(f"{candidate}[2].click()")
    assert browsed.value(large) == of_third
    assert browsed.value(f"{shot}.querySelector('.pair figcaption').textContent") == "start of candidate 3"
    assert browsed.value(f"{shot}.querySelector('.pair img').alt") == "SC01_SH020, candidate 3, start frame"
    browsed.value(f"{candidate}[2].click()")
    assert browsed.value(large) == own and browsed.value(f"{shot}.querySelector('.pair figcaption').textContent") == "start"
    assert browsed.value("document.querySelector('.shot.current').id") == "SC01_SH020"
    for number in (1, 2, 3, None):  # C goes through them, and back
        browsed.press("c")
        pressed = f"[...{candidate}].filter(c => c.ariaPressed === 'true').map(c => Number(c.querySelector('b').textContent))"
        assert browsed.value(pressed) == ([number] if number else [])
    assert browsed.value(large) == own
    browsed.value(f"{candidate}[0].focus()")
    browsed.press("Enter")
    assert browsed.value(large) == browsed.value(f"[...{candidate}[0].querySelectorAll('img')].map(i => i.src)")
    browsed.send("Emulation.setEmulatedMedia", media="print")
    assert browsed.value("getComputedStyle(document.querySelector('.candidates')).display") == "none"
