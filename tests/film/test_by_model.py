"""The director and the refiner by a model, behind a real HTTP server that says what a test wants."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data_pipeline.annotate.endpoint import Endpoint
from stage_jax.cli import main as cli
from stage_jax.errors import InputError
from stage_jax.film.by_model import direct_by_model, refine_by_model
from stage_jax.story.board import BoardShot, Pair
from stage_jax.story.director import direct_theme
from stage_jax.story.readers import read_story
from stage_jax.story.table import SCHEMA
from stage_jax.story.types import Scene, Shot
from tests.story.test_director import TABLE, THEME


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


def words(request: dict[str, Any]) -> str:
    return next(part["text"] for part in request["messages"][0]["content"] if part["type"] == "text")


def test_a_model_is_asked_with_the_schema() -> None:
    with serving(f"Here you are:\n```json\n{json.dumps(TABLE)}\n```") as (url, got):
        story, repairs = direct_by_model("A late ferry.", Endpoint(url, "small", "secret"), shots=2)
    assert repairs == [] and got[0]["path"] == "/v1/chat/completions" and got[0]["model"] == "small"
    assert got[0]["headers"]["Authorization"] == "Bearer secret" and "secret" not in repr(Endpoint(url, "small", "secret"))
    asked = got[0]["response_format"]["json_schema"]
    assert asked["strict"] is True and asked["schema"] == json.loads(json.dumps(SCHEMA))
    assert "about 2 shots" in words(got[0]) and words(got[0]).endswith("A late ferry.")
    first, second = (shot for _, shot in story.shots())
    assert (story.scenes[0].location, first.start.prompt, first.seconds) == ("pier", "Mia alone", 4.0)
    assert second.characters == ("old_tom",) and second.movement == "pan left"


def test_what_does_not_fit_goes_back_to_the_model() -> None:
    wrong = copy.deepcopy(TABLE)
    wrong["scenes"][0]["shots"][0]["description"] = 7
    with serving("I cannot do that", json.dumps(wrong), json.dumps(TABLE)) as (url, got):
        story, _ = direct_by_model("x", Endpoint(url, "m"))
    assert story.title == "The Ferry" and len(got) == 3 and "expected a JSON object" in words(got[1])
    assert "scenes[0].shots[0].description: found the number 7" in words(got[2])
    with serving(json.dumps(wrong)) as (url, got), pytest.raises(InputError) as caught:
        direct_by_model("x", Endpoint(url, "m"))
    assert len(got) == 3 and "description: found the number 7" in str(caught.value) and "\n" not in str(caught.value)
    with serving((403, b"no")) as (url, got), pytest.raises(InputError, match="HTTP 403"):
        direct_by_model("x", Endpoint(url, "m"))
    assert len(got) == 1


def test_a_vision_model_sees_both_frames() -> None:
    black = np.zeros((32, 32, 3), np.uint8)
    shot = BoardShot("SC01_SH010", Scene("SC01"), Shot("SH010", "A ball."), "A ball.", 0, Pair(black, black + 9), (), "given")
    with serving(json.dumps({"prompt": ""}), json.dumps({"prompt": "The  ball\nrolls."})) as (url, got):
        assert refine_by_model(shot, Endpoint(url, "eye")) == "The ball rolls."
    first, second, text = got[0]["messages"][0]["content"]
    assert first["type"] == second["type"] == "image_url" and first != second and "Description: A ball." in text["text"]
    assert "prompt: found" in words(got[1])
    with serving(json.dumps({"prompt": "x" * 3000})) as (url, got), pytest.raises(InputError, match="expected 1 to 2,000"):
        refine_by_model(shot, Endpoint(url, "eye"))
    assert len(got) == 3


def test_the_verb(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "theme.txt").write_text(THEME)
    out = tmp_path / "story.json"
    assert cli.main(["direct", str(tmp_path / "theme.txt"), "--out", str(out)]) == 0
    assert read_story(out) == direct_theme(THEME, "x")
    odd = copy.deepcopy(TABLE)
    odd["scenes"][0]["shots"][0]["seconds"] = 0
    with serving(json.dumps(odd)) as (url, got):
        assert cli.main(["direct", str(tmp_path / "theme.txt"), "--out", str(out), "--endpoint", url, "--model", "m"]) == 0
    assert read_story(out).title == "The Ferry" and "Authorization" not in got[0]["headers"]
    assert capsys.readouterr().err == "repaired: scenes[0].shots[0].seconds: 1 for 0.0\n"
    (tmp_path / "empty.txt").write_text(" \n")
    for arguments, expected in (
        (["empty.txt", "--out", "a.json"], "empty.txt: found no words"),
        (["theme.txt", "--out", "a.txt"], "a.txt: expected the name of a story"),
        (["theme.txt", "--out", "a.json", "--model", "m"], "--model, --key-env: found without an endpoint"),
        (["theme.txt", "--out", "a.json", "--endpoint", "http://h/v1"], "--model: found none"),
        (["theme.txt", "--out", "a.json", "--endpoint", "ftp://h", "--model", "m"], "expected an endpoint such as"),
        (["none.txt", "--out", "a.json"], "none.txt: cannot be read"),
    ):
        assert cli.main(["direct", str(tmp_path / arguments[0]), *arguments[1:]]) == 2
        told = capsys.readouterr().err
        assert expected in told and told.count("\n") == 1
