"""Malformed input, each kind once, through `stage film`: one clear line and nothing written, or a correct film."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import opentimelineio as otio
import pytest
from PIL import Image

from stage_jax.cli import main as cli
from stage_jax.film.make import write_board
from stage_jax.film.storyboarder import storyboarder_names
from stage_jax.film.video import count_frames
from stage_jax.story.board import Board, BoardShot, Clip, MemoryEntry, Pair
from stage_jax.story.readers import read_story
from stage_jax.story.types import Character, Location, Scene, Shot, Story, story_from_json
from tests.film.boards import picture
from tests.film.test_html import ATTRIBUTES, TAGS, Page

FOUNTAIN = "INT. ROOM - DAY\n\nMia waits.\n\nTom comes.\n"


def story(**changes: Any) -> dict[str, Any]:
    """A story of two shots; `changes` go into its second one."""
    shots = [{"id": "SH010", "description": "Mia waits."}, {"id": "SH020", "description": "Tom comes."} | changes]
    return {"title": "T", "characters": [{"id": "mia", "name": "Mia"}], "scenes": [{"id": "SC01", "shots": shots}]}


def cast(*references: str) -> bytes:
    """The story, in which Mia, whom a shot names, has these references."""
    mia = {"id": "mia", "name": "Mia", "references": list(references)}
    return json.dumps(story(characters=["mia"]) | {"characters": [mia]}).encode()


def bomb(path: Path) -> None:
    """A PNG of 50,000 x 50,000 pixels in a few hundred bytes."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(9_000))) + chunk(b"IEND", b""))


FILES: list[tuple[str, str, bytes, str]] = [
    ("broken JSON", "s.json", b'{"title": "T",\n  "scenes": [}', "s.json:2:14: not JSON"),
    ("wrong types", "s.json", json.dumps(story(seconds="long")).encode(), "scenes[0].shots[1].seconds: found the string"),
    ("no scenes", "s.fountain", b"Title: Nothing\n\n# A section\n\n= A synopsis\n", "s.fountain:1: found no action"),
    ("empty file", "s.fountain", b"", "found no action"),
    ("binary junk", "s.json", bytes(range(256)) * 9, "s.json:2: found no text"),
    ("binary junk as a screenplay", "s.fountain", os.urandom(64) + b"\0\xff", "s.fountain:"),
    ("Latin-1", "s.fountain", "INT. CAFÉ\n\nMia".encode("latin-1"), "s.fountain:1: found byte 0xc9, which is no UTF-8"),
    ("UTF-16", "s.fountain", FOUNTAIN.encode("utf-16"), "s.fountain:1: text in UTF-16, expected UTF-8"),
    ("zero shots", "s.json", b'{"title": "T", "scenes": [{"id": "SC01"}]}', "scenes: found 0 shots in all"),
    ("duplicate ids", "s.json", json.dumps(story(id="SH010")).encode(), "found a second shot called SC01_SH010"),
    ("unknown characters", "s.json", json.dumps(story(characters=["maia"])).encode(), "the id of a character: 'mia'"),
    ("absurd duration", "s.json", json.dumps(story(seconds=1e300)).encode(), "shots[1].seconds: found the number 1e+300"),
    ("negative duration", "s.json", json.dumps(story(seconds=-2)).encode(), "shots[1].seconds: found the number -2"),
    ("no such picture", "s.json", json.dumps(story(start={"image": "no.png"})).encode(), "no such picture in"),
    ("path escape", "s.json", json.dumps(story(end={"image": "../secret.png"})).encode(), "end.image: found"),
    ("absolute path", "s.json", json.dumps(story(end={"image": "/etc/passwd"})).encode(), "end.image: found"),
    ("symlink out", "s.json", json.dumps(story(start={"image": "link.png"})).encode(), "link.png leads out of"),
    ("folder out", "s.json", json.dumps(story(start={"image": "up/secret.png"})).encode(), "up/secret.png leads out of"),
    ("symlink to itself", "s.json", json.dumps(story(start={"image": "loop.png"})).encode(), "no such picture in"),
    ("device", "s.json", json.dumps(story(start={"image": "pipe.png"})).encode(), "no such picture in"),
    ("no such reference", "s.json", cast("a.png"), "no such picture in"),
    ("reference: path escape", "s.json", cast("a.png", "b/../../secret.png"), "characters[0].references[1]: found"),
    ("reference: absolute path", "s.json", cast("/etc/passwd"), "characters[0].references[0]: found"),
    ("reference: symlink out", "s.json", cast("link.png"), "link.png leads out of"),
    ("reference: symlink to itself", "s.json", cast("loop.png"), "no such picture in"),
    ("reference: device", "s.json", cast("pipe.png"), "no such picture in"),
    ("too many references", "s.json", cast(*["a.png"] * 101), "characters[0].references: found 101 pictures, expected at most"),
    ("another kind of file", "s.docx", b"PK", "found a file called '*.docx', expected *.json or *.fountain"),
]  # fmt: skip
PICTURES: list[tuple[str, Callable[[Path], Any], str]] = [
    ("missing", lambda path: path.unlink(), "1 pictures are missing: SC01_SH020_end.png"),
    ("broken", lambda path: path.write_bytes(path.read_bytes()[:60]), "not a picture that can be read"),
    ("no picture", lambda path: path.write_bytes(b"<svg onload='alert(1)'/>"), "not a picture that can be read"),
    ("huge: an image bomb", bomb, "over 100 million pixels"),
]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str], verb: str = "film") -> str:
    """The one line that a bad input ends in; no more than that is left of it."""
    before = set(Path(arguments[0]).parents[1].rglob("*"))
    assert cli.main([verb, *arguments]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and "Traceback" not in told.err and len(told.err) < 600
    assert set(Path(arguments[0]).parents[1].rglob("*")) == before
    return told.err


@pytest.mark.parametrize(("name", "data", "expected"), [case[1:] for case in FILES], ids=[case[0] for case in FILES])
def test_stories(name: str, data: bytes, expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "story"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(b"")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    os.mkfifo(folder / "pipe.png")
    (folder / name).write_bytes(data)
    assert expected in refused([str(folder / name), "--out", str(tmp_path / "out")], capsys)


@pytest.mark.parametrize(("spoil", "expected"), [case[1:] for case in PICTURES], ids=[case[0] for case in PICTURES])
def test_pictures(
    spoil: Callable[[Path], Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = tmp_path / "story" / "pairs"
    pairs.mkdir(parents=True)
    for name in ("SC01_SH010_start", "SC01_SH010_end", "SC01_SH020_start", "SC01_SH020_end"):
        Image.new("RGB", (16, 16)).save(pairs / f"{name}.png")
    spoil(pairs / "SC01_SH020_end.png")
    (tmp_path / "story" / "s.fountain").write_text(FOUNTAIN)
    arguments = [str(tmp_path / "story" / "s.fountain"), "--out", str(tmp_path / "out"), "--pairs", str(pairs)]
    assert expected in refused(arguments, capsys)


@pytest.mark.parametrize("verb", ["film", "board"])
@pytest.mark.parametrize("place", ["reference", "start"])
@pytest.mark.parametrize(("spoil", "expected"), [case[1:] for case in PICTURES[1:]], ids=[case[0] for case in PICTURES[1:]])
def test_pictures_of_the_story(
    verb: str, place: str, spoil: Callable[[Path], Any], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "story"
    folder.mkdir()
    Image.new("RGB", (16, 16)).save(folder / "mia.png")
    spoil(folder / "mia.png")
    told = json.loads(cast(*["mia.png"] * (place == "reference")))
    for shot in told["scenes"][0]["shots"]:
        shot["description"] = "Mia jumps at Elm Hill."  # words that the shipped model knows
    if place == "start":
        told["scenes"][0]["shots"][1]["start"] = {"image": "mia.png"}
    (folder / "s.json").write_text(json.dumps(told))
    line = refused([str(folder / "s.json"), "--out", str(tmp_path / "out")], capsys, verb)
    assert expected in line and "mia.png" in line


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="a disk of its own needs unshare")
@pytest.mark.parametrize(
    ("mount", "expected"), [("size=8k", "No space left on device"), ("ro", "Read-only file system")], ids=["full", "read-only"]
)
def test_output_folders_that_take_nothing(mount: str, expected: str, tmp_path: Path) -> None:
    """Really: on a disk of their own, in a process of its own."""
    disk, pairs = tmp_path / "disk", tmp_path / "pairs"
    disk.mkdir()
    pairs.mkdir()
    for name in ("SC01_SH010_start", "SC01_SH010_end", "SC01_SH020_start", "SC01_SH020_end"):
        Image.new("RGB", (16, 16)).save(pairs / f"{name}.png")
    (tmp_path / "s.fountain").write_text(FOUNTAIN)
    code = "import sys; from stage_jax.cli.main import main; sys.exit(main(sys.argv[1:]))"
    film = [sys.executable, "-c", code, "film", "s.fountain", "--pairs", "pairs", "--out", "disk/out", "--steps", "1"]
    script = f'mount -t tmpfs -o {mount} tmpfs disk || exit 77; "$@"; code=$?; find disk -mindepth 1 -type f; exit $code'
    ran = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", script, "sh", *film], cwd=tmp_path, capture_output=True,
        text=True, check=False, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    if ran.returncode == 77 or "unshare" in ran.stderr:
        pytest.skip("nothing may be mounted here")
    assert ran.returncode == 2 and ran.stdout == "", ran.stderr
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("stage: ") and "disk/out" in last and last.endswith(expected) and "Traceback" not in ran.stderr


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "s.fountain"
    path.write_bytes(b"\xef\xbb\xbf" + FOUNTAIN.encode())
    assert [shot.description for _, shot in read_story(path).shots()] == ["Mia waits.", "Tom comes."]


@pytest.mark.slow
def test_ten_thousand_shots_are_read_and_one_more_is_too_many(tmp_path: Path) -> None:
    """In a process of its own, without the shape checks of the tests, under which this takes a minute."""
    code = (
        "import json, sys\nfrom stage_jax.cli.main import main\nfrom stage_jax.story.readers import read_story\n"
        "from stage_jax.story.types import story_to_json\n"
        "whole = read_story('s.fountain')\njson.dump(story_to_json(whole), open('s.json', 'w'))\n"
        "assert read_story('s.json') == whole and len(list(whole.shots())) == 10_000\n"
        "sys.exit(main(['film', 'more.fountain', '--out', 'out']))"
    )
    (tmp_path / "s.fountain").write_text("INT. X\n\n" + "Mia waits.\n\n" * 10_000)
    (tmp_path / "more.fountain").write_text("INT. X\n\n" + "Mia.\n\n" * 10_001)
    root = str(Path(__file__).parents[2])
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": root, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    told = "stage: more.fountain:20003: found shot 10,001, expected at most 10,000\n"
    assert (ran.returncode, ran.stdout, ran.stderr) == (2, "", told) and not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_film_of_a_thousand_shots_and_one(tmp_path: Path) -> None:
    """Longer than an edit list or a sheet can be: the one is left out, the other holds the first; all else is whole."""
    shots = [{"id": f"SH{number:04}", "description": "Mia waits."} for number in range(1, 1002)]
    whole = story_from_json({"title": "T", "scenes": [{"id": "SC01", "shots": shots}]}, "s.json")
    pair = Pair(picture(0.1, 0.0)[::8, ::8], picture(0.1, 1.0)[::8, ::8])
    clip = Clip.of(np.stack([pair.start]))
    made = tuple(
        BoardShot(f"SC01_{shot.id}", scene, shot, shot.description, 7, pair, (), "step2", clip)
        for scene, shot in whole.shots()
    )
    write_board(Board(whole, made, 8.0), tmp_path, {"step2": "ab"}, {"seed": 0})
    assert not (tmp_path / "film.edl").exists()
    assert count_frames(tmp_path / "film.mp4") == count_frames(tmp_path / "animatic.mp4") == 1001
    assert otio.adapters.read_from_file(str(tmp_path / "film.otio")).duration().value == 1001
    assert b"/Count 251" in (tmp_path / "storyboard.pdf").read_bytes()
    assert Image.open(tmp_path / "sheet.png").height < 32_000
    page = Page((tmp_path / "board.html").read_text())
    assert [attributes["id"] for attributes in page.find("article")] == [shot.name for shot in made]
    assert len(list((tmp_path / "frames").iterdir())) == 2 * len(list((tmp_path / "clips").iterdir())) == 2002


EVIL = (
    "</style></title><script>alert(1)</script><img src=x onerror=alert(1)>{{7*7}}${x}{nb}{0}%s<!--]]>"
    " שלום עולם مرحبا \u202eesrever\u202c 👩\u200d🚀🎩 帽子 \x1b[31m"
)


def evil(kind: type, *others: str) -> dict[str, str]:
    """All texts of a part of a story that a person can write, each with its own name beside the rest; without `others`."""
    texts = {field.name for field in fields(kind) if field.type == "str"} - {"id", "extra", *others}
    return {name: f"{EVIL} {kind.__name__}.{name}" for name in texts}


def hostile() -> Story:
    """Every text that a person can write holds all of that."""
    pair = {end: {"prompt": f"{EVIL} Shot.{end}"} for end in ("start", "end")}
    shot = evil(Shot) | pair | {"id": "SH010", "characters": ["mia"]}
    place = evil(Location) | {"id": EVIL}
    return story_from_json(evil(Story, "aspect") | {
        "characters": [evil(Character) | {"id": "mia"}], "locations": [place],
        "scenes": [evil(Scene) | {"id": "SC01", "location": EVIL, "shots": [shot, shot | {"id": "SH020"}]}],
    }, "story.json")  # fmt: skip


def test_markup_braces_right_to_left_and_emoji_make_a_correct_film(tmp_path: Path) -> None:
    """All deliverables of a story of nothing else: whole files in their formats, and no element of the page is the story's."""
    whole = hostile()
    pair = Pair(picture(0.1, 0.0), picture(0.1, 1.0))
    memory = (MemoryEntry("SC01_SH010", "end", 0, 1.0, 64, 1.0, EVIL),)
    clip = Clip.of(np.stack([pair.start, pair.end, pair.start, pair.end, pair.end]))
    shots = tuple(
        BoardShot(f"SC01_{shot.id}", scene, shot, shot.description, 7, pair, memory * index, "step2", clip)
        for index, (scene, shot) in enumerate(whole.shots())
    )
    write_board(Board(whole, shots, 8.0), tmp_path, {"step2": "ab"}, {"seed": 0})
    assert read_story(tmp_path / "story.json") == whole
    assert count_frames(tmp_path / "film.mp4") == count_frames(tmp_path / "animatic.mp4") == 10
    page = Page((tmp_path / "board.html").read_text())
    assert {tag for tag, _ in page.tags} <= TAGS and len(page.find("script")) == 1
    assert all(attributes.keys() <= ATTRIBUTES for _, attributes in page.tags)
    shown = [evil(Story, "aspect"), evil(Character), evil(Location), evil(Scene, "location"), evil(Shot)]
    for text in (*(text for texts in shown for text in texts.values()), f"{EVIL} Shot.start", f"{EVIL} Shot.end"):
        assert text in page.words, text[len(EVIL) :]
    assert (tmp_path / "storyboard.pdf").read_bytes().startswith(b"%PDF")
    assert otio.adapters.read_from_file(str(tmp_path / "film.otio")).duration().value == 10
    assert (tmp_path / "film.edl").read_text().count("FROM CLIP NAME") == 2
    project = json.loads((tmp_path / "storyboarder" / "film.storyboarder").read_text())
    assert [board["action"] for board in project["boards"]] == [f"{EVIL} Shot.description"] * 4
    names = storyboarder_names([shot.name for shot in shots])
    assert all((tmp_path / name).is_file() for name in names)
    assert json.loads((tmp_path / "manifest.json").read_text())["story"]["title"] == f"{EVIL} Story.title"


def test_texts_that_say_almost_nothing_or_very_much_are_laid_out(tmp_path: Path) -> None:
    """A shot described by one dot, one by 20,000 letters without a blank, and a title of none."""
    plain = hostile()
    shots = tuple(
        replace(shot, description=text) for (_, shot), text in zip(plain.shots(), (".", "W" * 20_000), strict=True)
    )
    whole = replace(plain, title="", scenes=(replace(plain.scenes[0], shots=shots),))
    pair = Pair(picture(0.1, 0.0), picture(0.1, 1.0))
    clip = Clip.of(np.stack([pair.start]))
    board = Board(whole, tuple(
        BoardShot(f"SC01_{shot.id}", scene, shot, shot.description, 7, pair, (), "step2", clip) for scene, shot in whole.shots()
    ), 23.976)  # fmt: skip
    write_board(board, tmp_path, {"step2": "ab"}, {"seed": 0})
    assert "W" * 20_000 in (tmp_path / "board.html").read_text()
    assert Image.open(tmp_path / "sheet.png").height < 1000
