from __future__ import annotations

import base64
import hashlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stage_jax.film.html import board_html, shipped
from stage_jax.film.manifest import manifest
from stage_jax.film.video import read_video, write_mp4
from stage_jax.story.board import Board, MemoryEntry, Reference
from tests.film.boards import make_board
from tests.film.browser import CHROMIUM, browser
from tests.film.browser import Page as Browsed

# fmt: off
TAGS = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "section", "article", "footer", "div", "dl",
    "dt", "dd", "h1", "h2", "h3", "h4", "p", "span", "figure", "figcaption", "img", "video", "ol", "li", "details",
    "summary", "pre", "nav", "a", "button", "script", "b", "code",
}
ATTRIBUTES = {
    "charset", "http-equiv", "content", "name", "class", "id", "src", "alt", "width", "height", "style", "title",
    "controls", "loop", "muted", "playsinline", "poster", "lang", "aria-hidden", "aria-label", "href", "value", "type",
    "hidden",
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
    """What a browser would see: (tag, attributes) in order, and the text outside <style> and <script>."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words, self.open = "", [""]
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("img", "meta"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] not in ("style", "script"):
            self.words += data

    def find(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]


def page(board: Board, film: bytes | None = None, clips: dict[str, bytes] | None = None) -> str:
    made = manifest(board, model_hashes={"step2": "ab" * 32}, settings={"steps": 20}, files={})
    return board_html(board, made, film, clips)


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
        assert f"Seed{shot.seed}" in seen.words
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
    assert seen.words.count("rank 1, score 1.7532 tokens, 50% of a frame") == 4
    assert seen.words.count("Nothing: no earlier frame was shown.") == 1


def with_references(board: Board, name: str) -> Board:
    """Two references of a character called so, and of Tom one; the last shot remembers Tom's and the second of the others."""
    pictures = [np.full((64, 64, 3), grey, np.uint8) for grey in (10, 20, 30)]
    given = (Reference("mia", 1, pictures[0]), Reference("mia", 2, pictures[1]), Reference("tom", 1, pictures[2]))
    mia = replace(board.story.characters[0], name=name, references=("a.png", "b.png"))
    story = replace(board.story, characters=(mia, replace(board.story.characters[1], references=("c.png",))))
    seen = [
        MemoryEntry("", "reference", rank, 0.5**rank, 64 >> rank, 1.0, why, who, number)
        for rank, who, number, why in ((1, "tom", 1, "first reference of tom"), (2, "mia", 2, "further reference of mia"))
    ]
    *others, last = board.shots
    last = replace(last, memory=(last.memory[0], *seen))
    return replace(board, story=story, shots=(*others, last), references=given)


@pytest.mark.parametrize("name", ["Mia", *MARKUP])
def test_references_are_shown_and_named_by_whom_they_show(board: Board, name: str) -> None:
    """In the cast all of them, in a memory those that it saw; a number where there are several, and no shot's name."""
    seen = Page(page(with_references(board, name)))
    assert {tag for tag, _ in seen.tags} <= TAGS and all(attributes.keys() <= ATTRIBUTES for _, attributes in seen.tags)
    cast = [found for found in seen.find("img") if found["alt"].startswith("reference of") and "style" not in found]
    assert [(found["alt"], decoded(found["src"])[0, 0, 0]) for found in cast] == [
        (f"reference of {name}", 10), (f"reference of {name}", 20), ("reference of Tom", 30),
    ]  # fmt: skip
    remembered = [found for found in seen.find("img") if (found.get("style") or "").startswith("--side")][-2:]
    assert [(found["alt"], decoded(found["src"])[0, 0, 0]) for found in remembered] == [
        ("reference of Tom", 30), (f"reference 2 of {name}", 20),
    ]  # fmt: skip
    toms = "reference of Tomrank 1, score 1.0032 tokens, 50% of a framefirst reference of tom"
    assert f"{toms}reference 2 of {name}rank 2" in seen.words


def picture_of(board: Board, name: str, which: str) -> np.ndarray:
    return next(getattr(shot.pair, which) for shot in board.shots if shot.name == name)


def test_the_film_is_inside_the_page(board: Board, tmp_path: Path) -> None:
    clips = np.concatenate([shot.clip.read() for shot in board.shots])
    write_mp4(tmp_path / "film.mp4", clips, board.fps, scale=2)
    (video,) = Page(page(board, (tmp_path / "film.mp4").read_bytes())).find("video")
    assert {"controls", "loop", "muted"} <= video.keys() and "autoplay" not in video
    assert len(Page(page(board, b"film", {"SC01_SH020": b"clip"})).find("video")) == 2
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
    assert [link["href"] for link in seen.find("a")] == [f"#{shot.name}" for shot in shots]
    assert len(seen.find("script")) == 1
    assert len([found for found in seen.find("img") if "style" in found]) == 14


def test_the_page_is_strict_and_alone(board: Board) -> None:
    html = page(board, b"film")
    seen = Page(html)
    assert {tag for tag, _ in seen.tags} <= TAGS
    for _, attributes in seen.tags:
        assert attributes.keys() <= ATTRIBUTES
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith("#")
    (policy,) = seen.find("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'")
    (script,) = re.findall("<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["content"].endswith(f"; script-src 'sha256-{digest}'") and script == shipped("board.js")
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
    assert sizes == {(540, 960, 3), (54, 96, 3), (72, 128, 3)}


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Browsed, Path]]:
    """A browser, and the page of a board with clips, which has markup in every text."""
    if not os.path.exists(CHROMIUM):
        pytest.skip("Chromium is not installed (Debian: chromium)")
    folder = tmp_path_factory.mktemp("browser")
    board, clips = make_board(lambda words: words + "<script>document.title = 'taken'</script>{{7*7}}"), {}
    write_mp4(folder / "film.mp4", np.concatenate([shot.clip.read() for shot in board.shots]), board.fps, scale=2)
    for index, shot in enumerate(board.shots):
        write_mp4(folder / "clip.mp4", shot.clip.read(), board.fps, scale=2)
        clips[shot.name] = (folder / "clip.mp4").read_bytes()
        # magenta of a brightness of its own, a colour that the page has nowhere else
        shot.pair.start[:] = (255 - index, 0, 255 - index)
    file = folder / "board.html"
    file.write_text(page(board, (folder / "film.mp4").read_bytes(), clips), encoding="utf-8")
    with browser(folder / "profile") as browsed:
        yield browsed, file


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_a_browser_shows_the_pairs_whole_and_undistorted(shown: tuple[Browsed, Path], width: int, dark: bool) -> None:
    """On a desktop and on a phone every start frame is one large square, nothing is wider than the page, and the paper is
    light or dark."""
    browsed, file = shown
    browsed.open(file, width, dark=dark)
    assert browsed.value("document.documentElement.scrollWidth") == width
    picture = browsed.picture()
    assert (picture[2, 2].mean() < 60) == dark
    boxes = browsed.value(
        "[...document.querySelectorAll('.pair figure:first-child img')].map(i => i.getBoundingClientRect())"
        ".map(b => [b.left, b.top + scrollY, b.width, b.height])"
    )
    for index, (left, top, across, down) in enumerate(boxes):
        assert abs(across - down) <= 1 and across > (0.25 if width > 600 else 0.38) * width
        inside = picture[round(top) + 3 : round(top + down) - 3, round(left) + 3 : round(left + across) - 3]
        assert (inside == (255 - index, 0, 255 - index)).all()


@pytest.mark.slow
def test_a_browser_opens_goes_on_plays_and_prints(shown: tuple[Browsed, Path]) -> None:
    browsed, file = shown
    browsed.open(file, 1280)
    assert browsed.value("document.title").startswith("The Last Ferry")
    assert browsed.value("!document.querySelector('.tools').hidden")
    current = "document.querySelector('.shot.current')"
    for key, number in (("ArrowRight", 1), ("ArrowRight", 2), ("j", 3), ("ArrowLeft", 2)):
        name = f"SC01_SH0{number}0"
        browsed.press(key)
        assert browsed.value(f"{current}.id") == name
        browsed.until(f"Math.abs({current}.getBoundingClientRect().top) < 150")
        assert browsed.value("document.querySelector('.strip [aria-current]').title") == name
    playing = f"{current}.querySelector('video')"
    browsed.press(" ")
    browsed.until(f"!{playing}.paused && {playing}.currentTime > 0.1")
    browsed.press(" ")
    browsed.until(f"{playing}.paused")
    browsed.value("document.querySelector('.tools [value=film]').click()")
    browsed.until("!document.querySelector('.lead video').paused")
    browsed.value("document.querySelectorAll('.strip a')[5].click()")
    assert browsed.value(f"{current}.id") == "SC02_SH030"
    browsed.press("d")
    assert browsed.picture()[2, 2].mean() < 60
    browsed.value("window.print = () => { window.wasPrinted = true }, document.querySelector('.tools [value=print]').click()")
    assert browsed.value("wasPrinted")
    assert 2 <= len(re.findall(rb"/Type /Page\b", browsed.printed())) <= 5
    browsed.send("Emulation.setEmulatedMedia", media="print")
    assert browsed.value("getComputedStyle(document.querySelector('.bar')).display") == "none"
    assert (browsed.picture()[2, 2] == 255).all()  # white paper, although the page was dark
    asked = [event["request"]["url"] for event in browsed.happened("Network.requestWillBeSent")]
    assert {url.partition(":")[0] for url in asked} == {"file", "data"}
    assert browsed.happened("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled") == []


@pytest.mark.slow
def test_a_browser_runs_no_script_but_ours(shown: tuple[Browsed, Path]) -> None:
    """Were a text of the story ever markup, the policy would still hold it back."""
    browsed, file = shown
    broken = file.with_name("broken.html")
    evil = "<main><script>document.title = 'taken'</script><img src=x onerror=alert(1)>"
    broken.write_text(file.read_text().replace("<main>", evil))
    browsed.open(broken, 1280)
    assert browsed.value("document.title").startswith("The Last Ferry")
    refused = [event["entry"]["text"] for event in browsed.happened("Log.entryAdded")]
    assert sum("Content Security Policy" in text for text in refused) >= 2
