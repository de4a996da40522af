"""The director and what it asks: by rules, and by a language model behind a real HTTP server that says what a test wants."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.story import cinema
from stage_jax.story.director import direct_story, direct_theme
from stage_jax.story.endpoint import Endpoint
from stage_jax.story.readers import read_story
from stage_jax.story.table import SCHEMA, direct_by_model, story_of
from stage_jax.story.types import Scene, Shot, Story

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
                {"description": "Mia waits.", "size": "long shot", "angle": "eye level", "movement": "static",
                 "characters": ["Mia"], "seconds": 4, "start": "Mia alone", "end": "Mia looks up", "dialogue": ""},
                {"description": "Old Tom waves.", "size": "close-up", "angle": "low angle", "movement": "pan left",
                 "characters": ["old tom"], "seconds": 2.5, "start": "", "end": "", "dialogue": "Tom: Ahoy!"},
            ],
        }
    ],
}  # fmt: skip


@contextmanager
def serving(*replies: Any) -> Iterator[tuple[str, list[dict]]]:
    """A server that gives these replies in turn, the last one for ever: a text is what the model says, (code, body) is sent as
    it is. Its URL, and the requests that it got, with their headers."""
    got: list[dict] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append(body | {"path": self.path, "headers": dict(self.headers)})
            reply = replies[min(len(got), len(replies)) - 1]
            if isinstance(reply, str):
                reply = (200, json.dumps({"choices": [{"message": {"content": reply}}]}).encode())
            self.send_response(reply[0])
            if reply[0] == 302:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()
            self.wfile.write(reply[1])

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_theme_becomes_a_shot_table() -> None:
    story = direct_theme(THEME, "theme.txt")
    shots = [shot for _, shot in story.shots()]
    assert [who.name for who in story.characters] == ["Mia", "Tom"]
    assert [place.name for place in story.locations] == ["Station", "River"]
    assert [shot.description for shot in shots] == THEME.replace(". ", ".|").split("|")
    assert [shot.characters for shot in shots] == [("mia",), (), ("tom", "mia"), ("tom", "mia")]
    assert [len(scene.shots) for scene in story.scenes] == [3, 1]
    assert all(shot.size in cinema.SIZES and shot.angle in cinema.ANGLES and 2 <= shot.seconds <= 10 for shot in shots)
    assert story == direct_theme(THEME, "theme.txt")


def test_few_sentences_are_covered_from_afar_and_close() -> None:
    story = direct_theme("an old lighthouse keeper climbs the tower", "x")
    assert [shot.size for _, shot in story.shots()] == ["long shot", "medium shot", "close-up"]
    assert next(story.shots())[1].description == "Long shot. An old lighthouse keeper climbs the tower"
    assert [who.name for who in story.characters] == ["old lighthouse keeper"]


def test_a_screenplay_keeps_what_it_says() -> None:
    scene = Scene("SC01", shots=(
        Shot("SH010", "A valley. The camera pans to the left."),
        Shot("SH020", "Angle on Mia, from below.", size="full shot"),
        Shot("SH030", "Tom turns.", dialogue="Tom: " + "word " * 12, seconds=9.0),
        Shot("SH040", "Mia smiles.", dialogue="Mia: " + "word " * 12),
    ))  # fmt: skip
    shots = direct_story(Story("t", scenes=(scene,))).scenes[0].shots
    assert [(shot.size, shot.angle, shot.movement) for shot in shots] == [
        ("long shot", "eye level", "pan left"), ("full shot", "low angle", "static"), ("medium shot", "eye level", "static"),
        ("close-up", "eye level", "static"),
    ]  # fmt: skip
    assert [shot.seconds for shot in shots] == [2.0, 2.0, 9.0, 5.5]
    assert [shot.description for shot in shots] == [shot.description for shot in scene.shots]


def test_a_model_is_asked_with_the_schema() -> None:
    with serving(f"Here you are:\n```json\n{json.dumps(TABLE)}\n```") as (url, got):
        story, repairs = direct_by_model("A late ferry.", Endpoint(url, "small", "secret"), shots=2)
    assert repairs == [] and got[0]["path"] == "/v1/chat/completions" and got[0]["model"] == "small"
    assert got[0]["headers"]["Authorization"] == "Bearer secret" and "secret" not in repr(Endpoint(url, "small", "secret"))
    asked = got[0]["response_format"]["json_schema"]
    assert asked["strict"] is True and asked["schema"] == json.loads(json.dumps(SCHEMA))
    assert got[0]["messages"][1]["content"] == "A late ferry." and "about 2 shots" in got[0]["messages"][0]["content"]
    first, second = (shot for _, shot in story.shots())
    assert (story.scenes[0].location, first.start.prompt, first.seconds) == ("pier", "Mia alone", 4.0)
    assert second.characters == ("old_tom",) and second.movement == "pan left"


def test_what_does_not_fit_goes_back_to_the_model() -> None:
    wrong = copy.deepcopy(TABLE)
    wrong["scenes"][0]["shots"][0]["description"] = 7
    with serving("I cannot do that", json.dumps(wrong), json.dumps(TABLE)) as (url, got):
        story, _ = direct_by_model("x", Endpoint(url, "m"))
    assert story.title == "The Ferry" and len(got) == 3 and len(got[2]["messages"]) == 6
    assert "scenes[0].shots[0].description: found the number 7" in got[2]["messages"][-1]["content"]
    with serving(json.dumps(wrong)) as (url, got), pytest.raises(InputError, match="gave no shot_table in 3 tries") as caught:
        direct_by_model("x", Endpoint(url, "m"))
    assert len(got) == 3 and "description: found the number 7" in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_plain_is_repaired() -> None:
    odd = copy.deepcopy(TABLE)
    odd["more"] = 1
    shots = odd["scenes"][0]["shots"]
    shots[0] |= {"size": "Wide Shot", "angle": "from the moon", "seconds": 900, "characters": ["Mia", "MIA", "Crow"]}
    shots.insert(1, {"description": " "})
    odd["scenes"].append({"shots": []})
    story, repairs = story_of(odd, "x")
    first, second = (shot for _, shot in story.shots())
    assert (first.size, first.angle, first.seconds, first.characters) == ("long shot", "", 20.0, ("mia", "crow"))
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


@pytest.mark.parametrize(("reply", "expected"), [
    ((500, b"overloaded\n<html>"), "answered 500 Internal Server Error: overloaded"),
    ((302, b""), "answered 302"), ((200, b"no json"), "found no json, expected a chat's reply"),
    ((200, b"{}"), "expected a chat's reply"), ((200, b"x" * (9 << 20)), "a reply of over 8 MiB"),
])  # fmt: skip
def test_endpoints_that_answer_something_else(reply: tuple[int, bytes], expected: str) -> None:
    with serving(reply) as (url, got), pytest.raises(InputError) as caught:
        Endpoint(url, "m", "secret").reply([], "x", {})
    assert expected in str(caught.value) and "secret" not in str(caught.value)
    assert len(got) == 1 and len(str(caught.value)) < 300 and "\n" not in str(caught.value)


def test_endpoints_that_are_not_there() -> None:
    with pytest.raises(InputError, match="no answer"):
        Endpoint("http://127.0.0.1:9/v1", "m", seconds=5.0).reply([], "x", {})
    for url in ("file:///etc/passwd", "localhost:8000", "ftp://x"):
        with pytest.raises(InputError, match="expected an endpoint"):
            Endpoint(url, "m")


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    (tmp_path / "theme.txt").write_text(THEME)
    out = tmp_path / "story.json"
    assert cli.main(["direct", str(tmp_path / "theme.txt"), "--out", str(out)]) == 0
    assert read_story(out) == direct_theme(THEME, "x")
    odd = copy.deepcopy(TABLE)
    odd["scenes"][0]["shots"][0]["seconds"] = 0
    with serving(json.dumps(odd)) as (url, got):
        assert cli.main(["direct", str(tmp_path / "theme.txt"), "--out", str(out), "--endpoint", url, "--llm", "m"]) == 0
    assert read_story(out).title == "The Ferry" and "Authorization" not in got[0]["headers"]
    assert capsys.readouterr().err == "repaired: scenes[0].shots[0].seconds: 1 for 0.0\n"
    (tmp_path / "empty.txt").write_text(" \n")
    for arguments, expected in (
        (["empty.txt", "--out", "a.json"], "empty.txt: found no words"),
        (["theme.txt", "--out", "a.txt"], "a.txt: expected the name of a story"),
        (["theme.txt", "--out", "a.json", "--llm", "m"], "--llm: found without an endpoint"),
        (["none.txt", "--out", "a.json"], "none.txt: cannot be read"),
    ):
        assert cli.main(["direct", str(tmp_path / arguments[0]), *arguments[1:]]) == 2
        told = capsys.readouterr().err
        assert expected in told and told.count("\n") == 1
