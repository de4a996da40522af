"""Endpoints, those that are bad above all: nothing that they send stops an annotation, or gets into it."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from data_pipeline.annotate.answers import read_answer, schema
from data_pipeline.annotate.asking import GIVE_UP, Asker, NoAnswerError
from data_pipeline.annotate.endpoint import LONGEST_WAIT, Endpoint, read_key, seconds_to_wait
from data_pipeline.annotate.model import Question
from stage_jax.errors import InputError
from tests.data_pipeline.annotate.fake_endpoint import Handler, completion, fails, raw, says, serving

GOOD = {"caption": "A rabbit wakes up.", "size": "close-up"}
QUESTION = Question("What is it?", (b"\x89PNG one", b"\xff\xd8 two"), schema(["size"]))
OK = b"HTTP/1.1 200 OK\r\n"


def read(text: str) -> dict[str, str]:
    return read_answer(text, ["size"])


class Waits(list):
    """Sleeps no time and notes how long it was to be."""

    __call__ = list.append


def asker(url: str, kept: Path, key: str = "", seconds: float = 5.0, attempts: int = 3) -> Asker:
    return Asker(Endpoint(url, "eyes", key, seconds), kept, attempts, sleep=Waits())


def test_what_is_asked_and_what_is_kept(tmp_path: Path) -> None:
    with serving(says(GOOD)) as server:
        assert asker(server.url, tmp_path, "sk-1").ask(QUESTION, read) == GOOD
        ((headers, asked),) = server.requests
        assert asker(server.url, tmp_path, "sk-2").ask(QUESTION, read) == GOOD and len(server.requests) == 1
    assert headers["Authorization"] == "Bearer sk-1" and asked["model"] == "eyes"
    *pictures, words = asked["messages"][0]["content"]
    kinds = [picture["image_url"]["url"].split(",")[0] for picture in pictures]
    assert kinds == ["data:image/png;base64", "data:image/jpeg;base64"]
    assert base64.b64decode(pictures[0]["image_url"]["url"].split(",")[1]) == b"\x89PNG one"
    assert words == {"type": "text", "text": "What is it?"}
    assert asked["response_format"]["json_schema"]["schema"] == QUESTION.schema
    (file,) = tmp_path.glob("*/*.json")
    assert json.loads(file.read_text())["answer"] == json.dumps(GOOD) and "sk-1" not in file.read_text()
    file.write_text(file.read_text()[:20])  # damaged: asked anew
    with pytest.raises(NoAnswerError, match="no answer"):
        asker(server.url, tmp_path).ask(QUESTION, read)


BAD = [
    (raw(b""), "no answer"),
    (raw(b"\x00\xff" * 600), "no answer"),
    (raw(OK + b"Content-Length: 900\r\n\r\n" + completion("x")), "no answer .IncompleteRead"),
    (raw(OK + b"Content-Length: 20\r\n\r\n" + completion("x" * 99)), "no chat completion"),
    (raw(OK + b"Content-Length: 9000000000000\r\n\r\n"), "9,000,000,000,000 bytes"),
    (raw(OK + b"Transfer-Encoding: chunked\r\n\r\nffffffffff\r\n{"), "no answer"),
    (raw(OK + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08"), "no chat completion"),
    (lambda handler: handler.send(b"x" * (1 << 21)), "expected 1,048,576 at most"),
    (lambda handler: handler.send(b"[" * 100_000), "no chat completion"),
    (lambda handler: handler.send(b'{"choices": []}'), "no chat completion"),
    (lambda handler: handler.send(b'{"choices": "' + b"9" * 5000 + b'"}'), "no chat completion"),
    (says(None), "without text"),
    (says(GOOD, "length"), "token limit"),
    (fails(503), "HTTP 503 .no"),
    (fails(429), "HTTP 429"),
    (says("<html>busy</html>"), "expected a JSON object"),
    (says([GOOD]), "found a list"),
    (says("[" * 9_000), "expected a JSON object"),
    (says("x" * 30_000), "30,000 characters"),
    (says('{"caption": ' + "9" * 6000 + ', "size": ""}'), "expected a JSON object"),
    (says('{"caption": "a", "caption": "b", "size": "full"}'), "expected a JSON object"),
    (says({"caption": "A rabbit."}), "found the keys"),
    (says(GOOD | {"licence": "mine"}), "found the keys"),
    (says(GOOD | {"caption": 7}), "caption: found the number 7"),
    (says(GOOD | {"caption": " \n "}), "empty caption"),
    (says(GOOD | {"caption": "x" * 5000}), "5,000 characters"),
    (says(GOOD | {"caption": "<script>alert(1)</script>"}), "markup or a link"),
    (says(GOOD | {"caption": "See https://example.org"}), "markup or a link"),
    (says(GOOD | {"caption": "a\u202eb"}), r"the character '\\u202e'"),
    (says(GOOD | {"caption": "a\ud800"}), r"the character '\\ud800'"),
    (says(GOOD | {"caption": "a\x1b[2J"}), r"the character '\\x1b'"),
    (says(GOOD | {"size": "enormous"}), "size: found the string .*enormous"),
    (says(GOOD | {"size": None}), "size: found null"),
]  # fmt: skip


@pytest.mark.parametrize(("reply", "why"), BAD, ids=[why for _, why in BAD])
def test_what_is_bad_is_asked_for_again_and_never_kept(reply: object, why: str, tmp_path: Path) -> None:
    with serving(reply, reply, says(GOOD)) as server:
        assert asker(server.url, tmp_path / "a").ask(QUESTION, read) == GOOD and len(server.requests) == 3
    with serving(reply) as server:
        with pytest.raises(NoAnswerError, match=why):
            asker(server.url, tmp_path / "b").ask(QUESTION, read)
        assert len(server.requests) == 3
    assert not (tmp_path / "b").exists()


def test_a_wrong_answer_is_told_to_the_model(tmp_path: Path) -> None:
    with serving(says(GOOD | {"size": "enormous"}), says(GOOD)) as server:
        asker(server.url, tmp_path).ask(QUESTION, read)
        again = server.requests[1][1]["messages"][0]["content"][-1]["text"]
    assert again.startswith("What is it?") and "expected one of extreme close-up, close-up" in again
    assert read_answer("```json\n" + json.dumps(GOOD | {"size": "CU shot"}) + "\n```", ["size"]) == GOOD
    assert read_answer(json.dumps(GOOD | {"size": "unknown"}), ["size"])["size"] == ""


@pytest.mark.parametrize("status", [301, 307, 308])
def test_redirects_do_not_get_the_key(status: int, tmp_path: Path) -> None:
    with serving(says(GOOD)) as other, serving(fails(status, Location=other.url + "/chat/completions")) as server:
        with pytest.raises(NoAnswerError, match=f"HTTP {status}"):
            asker(server.url, tmp_path, "sk-1").ask(QUESTION, read)
        assert len(server.requests) == 1 and other.requests == []


@pytest.mark.parametrize("reply", [
    says(GOOD | {"caption": "The key is sk-123 45"}),
    says('{"caption": "sk-123", "size": "full"}'),
    says('{"caption": "s\\u006b-123", "size": "full"}'),
    fails(400, "wrong key: sk-123 is none of ours"),
    raw(b"sk-123 sk-123\r\n\r\n"),
    raw(b"HTTP/1.1 sk-123\r\n\r\n"),
])  # fmt: skip
def test_the_key_is_nowhere(reply: object, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    with serving(reply) as server:
        one = asker(server.url, tmp_path, "sk-123")
        with pytest.raises(NoAnswerError) as caught:
            one.ask(QUESTION, read)
    told = repr(one.model) + one.model.name + str(caught.value) + "".join(capfd.readouterr())
    assert "sk-123" not in told and list(tmp_path.iterdir()) == []


def test_a_key_that_json_may_spell_otherwise(tmp_path: Path) -> None:
    reply = says('{"caption": "sk-1\\/\\u0032", "size": "full"}')
    with serving(reply) as server, pytest.raises(NoAnswerError, match="key in it"):
        asker(server.url, tmp_path, "sk-1/2").ask(QUESTION, read)


def test_slow_servers_are_left(tmp_path: Path) -> None:
    """Also those that send a byte now and then, for which a socket's own timeout never comes."""
    stop = threading.Event()

    def drips(headers: bytes) -> Callable[[Handler], None]:
        def reply(handler: Handler) -> None:
            handler.wfile.write(OK + headers + b"\r\n")
            while not stop.wait(0.05):
                handler.wfile.write(b" ")

        return reply

    def drips_headers(handler: Handler) -> None:
        handler.wfile.write(OK)
        while not stop.wait(0.05):
            handler.wfile.write(b"X: y\r\n")

    lengths = b"Content-Length: 100\r\n", b"Connection: close\r\nContent-Length: 100\r\n", b"Connection: close\r\n"
    for reply in (*map(drips, lengths), drips_headers, lambda handler: stop.wait(60)):
        began = time.monotonic()
        with serving(reply) as server, pytest.raises(NoAnswerError, match=r"no answer \(not within 0.4 s\)"):
            asker(server.url, tmp_path, seconds=0.4, attempts=1).ask(QUESTION, read)
        assert time.monotonic() - began < 30
    stop.set()


def test_waiting_is_as_asked_and_bounded(tmp_path: Path) -> None:
    with serving(fails(429, Retry_After="7"), fails(500), fails(429, Retry_After="99999"), says(GOOD)) as server:
        one = asker(server.url, tmp_path, attempts=4)
        one.ask(QUESTION, read)
    assert one.sleep[0] == 7 and 1 <= one.sleep[1] <= 2 and one.sleep[2] == LONGEST_WAIT
    assert (
        seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
        and seconds_to_wait("Fri, 01 Jan 2100 00:00:00 GMT") == LONGEST_WAIT
    )
    assert [seconds_to_wait(text) for text in ("", "soon", "-3", "1e9", "٣", "inf")] == [0] * 6


def test_errors_of_the_caller_are_not_asked_again(tmp_path: Path) -> None:
    with serving(fails(404, "no model 'eyes'\nhere")) as server:
        with pytest.raises(NoAnswerError, match=r"^HTTP 404 \(no model 'eyes' here\)$"):
            asker(server.url, tmp_path).ask(QUESTION, read)
        assert len(server.requests) == 1


def test_a_dead_endpoint_is_given_up(tmp_path: Path) -> None:
    with serving(fails(401, "who are you")) as server:
        one = asker(server.url, tmp_path)
        for _ in range(GIVE_UP):
            with pytest.raises(NoAnswerError, match="HTTP 401"):
                one.ask(QUESTION, read)
        with pytest.raises(NoAnswerError, match=r"not asked: .*HTTP 401 \(who are you\)"):
            one.ask(QUESTION, read)
        assert len(server.requests) == GIVE_UP


@pytest.mark.parametrize(
    "url", ["ftp://h/v1", "http:///v1", "https://u:p@h/v1", "https://h/v1?key=1", "https://h:99999/v1", "h", "http://[::1/v1"]
)
def test_wrong_addresses(url: str) -> None:
    with pytest.raises(InputError, match="expected"):
        Endpoint(url, "eyes")


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EYES_KEY", "sk-1")
    assert read_key("EYES_KEY") == "sk-1"
    for wrong in ("", "sk 1", "sk-1\nX-Evil: 1", "sk-é"):
        monkeypatch.setenv("EYES_KEY", wrong)
        with pytest.raises(InputError) as caught:
            read_key("EYES_KEY")
        assert "EYES_KEY" in str(caught.value) and (not wrong or wrong not in str(caught.value))
