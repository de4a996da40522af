from __future__ import annotations

import base64
import io
import os
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stage_jax.film.html import board_html
from stage_jax.film.manifest import manifest
from stage_jax.film.video import read_video, write_mp4
from stage_jax.story.board import Board
from tests.film.boards import make_board

CHROMIUM = "/usr/bin/chromium"
# fmt: off
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "footer", "div", "dl",
    "dt", "dd", "h1", "h2", "h3", "h4", "p", "span", "figure", "figcaption", "img", "video", "ol", "li", "details",
    "summary", "pre",
}
ATTRIBUTES = {
    "charset", "http-equiv", "content", "name", "class", "id", "src", "alt", "width", "height", "style", "title",
    "controls", "loop", "muted", "playsinline", "lang", "aria-hidden",
}
# fmt: on
MARKUP = [
    "<script>alert(1)</script>",
    '" onmouseover="alert(1)',
    "' onload='alert(1)",
    "</style><img src=x onerror=alert(1)>",
    "--><iframe src=https://example.com></iframe>",
    "&lt;b&gt; &amp;",
]


class Page(HTMLParser):
    """What a browser would see: (tag, attributes) in order, and the text outside <style>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.open = "", []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.words += data

    def find(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]


def page(board: Board, film: bytes | None = None) -> str:
    made = manifest(board, model_hashes={"step2": "ab" * 32}, settings={"steps": 20}, files={})
    return board_html(board, made, film)


def decoded(source: str | None) -> np.ndarray:
    assert source is not None and source.startswith("data:image/png;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))))


def test_every_pair_is_on_the_page_with_its_words(board: Board) -> None:
    seen = Page(page(board))
    assert [shot["id"] for shot in seen.find("article", class_="shot")] == [shot.name for shot in board.shots]
    for shot in board.shots:
        for which in ("start", "end"):
            found = seen.find("img", alt=f"{shot.name}, {which} frame")
            assert np.array_equal(decoded(found[0]["src"]), getattr(shot.pair, which))
        assert shot.caption in seen.words
        assert f"seed {shot.seed}" in seen.words
    for words in ("The Last Ferry", "EXT. BEACH - DAY", "Mia waits for a ferry", "a red ball with a tall hat"):
        assert words in seen.words
    assert "drawn by step2" in seen.words and "given" in seen.words and "locked" in seen.words
    assert "Have you seen the ferry?" in seen.words and "Keep the horizon low." in seen.words
    assert "00:00:12:06" in seen.words, "102 frames at 8 fps"
    assert "00:00:02:01 – 00:00:04:02 (2.12 s)" in seen.words


def test_what_the_memory_saw_is_shown_as_large_as_its_share(board: Board) -> None:
    seen = Page(page(board))
    memories = [entry for shot in board.shots for entry in shot.memory]
    thumbnails = [found for found in seen.find("img") if (found.get("style") or "").startswith("--side")]
    assert len(thumbnails) == len(memories) == 0 + 1 + 2 + 3 + 4 + 4
    for found, entry in zip(thumbnails, memories, strict=True):
        assert found["alt"] == f"{entry.shot}, {entry.which} frame"
        assert float(found["style"].partition(":")[2]) == pytest.approx(entry.area**0.5, abs=1e-4)
        assert np.array_equal(decoded(found["src"]), picture_of(board, entry.shot, entry.which))
    assert seen.words.count("shares Mia and the beach") == 0 + 0 + 1 + 2 + 3 + 3
    assert seen.words.count("Nothing: no earlier frame was shown.") == 1


def picture_of(board: Board, name: str, which: str) -> np.ndarray:
    return next(getattr(shot.pair, which) for shot in board.shots if shot.name == name)


def test_the_film_is_inside_the_page(board: Board, tmp_path: Path) -> None:
    clips = np.concatenate([shot.clip for shot in board.shots])
    write_mp4(tmp_path / "film.mp4", clips, board.fps, scale=2)
    (video,) = Page(page(board, (tmp_path / "film.mp4").read_bytes())).find("video")
    assert {"controls", "loop", "muted"} <= video.keys() and "autoplay" not in video
    (tmp_path / "back.mp4").write_bytes(base64.b64decode(video["src"].removeprefix("data:video/mp4;base64,")))
    assert len(read_video(tmp_path / "back.mp4")) == 6 * 17
    assert Page(page(board)).find("video") == []


@pytest.mark.parametrize("markup", MARKUP)
def test_markup_of_the_user_shows_as_text(markup: str) -> None:
    """The page has the same elements and attributes as one without markup, and every text reads as it was written."""
    plain, seen = Page(page(make_board())), Page(page(make_board(lambda words: markup + words)))
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in plain.tags]
    for (_, found), (_, expected) in zip(seen.tags, plain.tags, strict=True):
        assert found.keys() == expected.keys()
    for words in (
        "The Last Ferry",
        "Mia waits",
        "EXT. BEACH",
        "Mia",
        "Tom",
        "a red ball",
        "non_human",
        "Beach",
        "sand and",
    ):
        assert markup + words in seen.words
    for words in (
        "Wide shot. Mia",
        "close-up",
        "pan right",
        "Have you seen",
        "Keep the horizon",
        "FADE OUT",
        "previous end",
    ):
        assert markup + words in seen.words


def test_markup_in_ids_shows_as_text(board: Board) -> None:
    evil = '"><script>alert(1)</script>'
    shots = []
    for shot in board.shots:
        memory = tuple(replace(entry, shot=evil + entry.shot, which=entry.which) for entry in shot.memory)
        scene = replace(shot.scene, id=evil + shot.scene.id)
        inner = replace(shot.shot, characters=(evil,))
        shots.append(replace(shot, name=evil + shot.name, scene=scene, shot=inner, memory=memory))
    seen = Page(page(replace(board, shots=tuple(shots))))
    assert {tag for tag, _ in seen.tags} <= TAGS
    assert [shot["id"] for shot in seen.find("article")] == [shot.name for shot in shots]
    assert len([found for found in seen.find("img") if "style" in found]) == 14


def test_the_page_is_strict_and_alone(board: Board) -> None:
    html = page(board, b"film")
    seen = Page(html)
    assert {tag for tag, _ in seen.tags} <= TAGS
    for _, attributes in seen.tags:
        assert attributes.keys() <= ATTRIBUTES
        assert (attributes.get("src") or "data:").startswith("data:")
    (policy,) = seen.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'")
    head = html[: html.index("<body")]
    assert "url(" not in head and "@import" not in head and "http:" not in html and "https:" not in html
    assert [tag for tag, _ in seen.tags].index("meta") < [tag for tag, _ in seen.tags].index("style")
    assert html == page(make_board(), b"film")


def test_text_that_utf8_cannot_hold_does_not_stop_the_page() -> None:
    html = page(make_board(lambda words: "\ud800" + words))
    assert "?The Last Ferry" in html.encode("utf-8").decode("utf-8")


def test_a_memory_of_a_shot_that_is_not_on_the_board_is_named_without_a_picture(board: Board) -> None:
    seen = Page(page(replace(board, shots=board.shots[1:2])))
    assert "SC01_SH010 end" in seen.words and not [i for i in seen.find("img") if "style" in i]


def test_large_frames_are_made_smaller_for_the_page(board: Board) -> None:
    large = np.zeros((720, 1280, 3), np.uint8)
    shots = tuple(replace(shot, pair=replace(shot.pair, start=large, end=large)) for shot in board.shots)
    sizes = {decoded(found["src"]).shape for found in Page(page(replace(board, shots=shots))).find("img")}
    assert sizes == {(540, 960, 3), (54, 96, 3)}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(CHROMIUM), reason="Chromium is not installed (Debian: chromium)")
def test_a_browser_shows_the_pairs_whole_and_undistorted(board: Board, tmp_path: Path) -> None:
    """Every start frame is found on the screenshot as one square with its first and its last column in it."""
    marked = []
    for index, shot in enumerate(board.shots):
        start = np.full_like(shot.pair.start, 255 - index)
        start[:, :, 1] = 0  # magenta of a brightness of its own, a colour that the page has nowhere else
        marked.append(replace(shot, pair=replace(shot.pair, start=start), memory=()))
    clips = np.concatenate([shot.clip for shot in board.shots])
    write_mp4(tmp_path / "film.mp4", clips, board.fps, scale=8)
    html = page(replace(board, shots=tuple(marked)), (tmp_path / "film.mp4").read_bytes())
    shown = screenshot(html, tmp_path / "page")
    for index in range(len(marked)):
        rows, columns = np.nonzero((shown == (255 - index, 0, 255 - index)).all(-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 150 < width < 500
        assert abs(height - width) <= 2
        assert len(rows) > 0.98 * height * width
    # the film is where it belongs and shows its first frame: the sky of the first shot
    film = shown[300:500, 80:580].reshape(-1, 3).astype(int)
    assert (np.abs(film - (205, 222, 235)).max(-1) < 12).mean() > 0.5


def screenshot(html: str, folder: Path) -> np.ndarray:
    folder.mkdir()
    (folder / "page.html").write_text(html, encoding="utf-8")
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += " --disable-component-update --disable-sync --hide-scrollbars --window-size=1400,3600"
    subprocess.run(
        [shutil.which(CHROMIUM) or CHROMIUM, *flags.split(), f"--user-data-dir={folder / 'profile'}",
         f"--screenshot={folder / 'page.png'}", (folder / "page.html").as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    return np.asarray(Image.open(folder / "page.png").convert("RGB"))
