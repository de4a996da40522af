"""An OpenAI-compatible endpoint that sees pictures: one POST of `chat/completions` for each question.

Nothing that it sends is trusted. Answers are read up to a size and a deadline, redirects are not followed (the key would go
with them), and no text of an answer or an error reaches anybody if the key stands in it.
"""

from __future__ import annotations

import base64
import contextlib
import email.utils
import http.client
import json
import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from data_pipeline.annotate.model import ModelError, Question
from stage_jax.errors import InputError
from stage_jax.story.schema import shortened

MOST_BYTES = 1 << 20  # of one response; a caption takes a few thousand
LONGEST_WAIT = 120.0  # seconds that a Retry-After may ask for
AGAIN = (408, 409, 425, 429)  # besides 5xx: what another try may answer otherwise
_ESCAPE = re.compile(r'\\(?:u([0-9a-fA-F]{4})|(["\\/]))')  # of a character in JSON that a key may have
Format = Literal["json_schema", "json_object", "text"]


@dataclass(frozen=True)
class Endpoint:
    """url: up to and with the version, such as http://localhost:8000/v1. key: from `read_key`, empty for none. seconds: that
    one request may take in all. answers: what is asked of the server's `response_format`; some know no JSON schema."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    seconds: float = 120.0
    tokens: int = 1024
    answers: Format = "json_schema"

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            parts.port  # noqa: B018 it is checked when it is read
        except ValueError:
            raise InputError(f"{shortened(self.url)}: found no host or port in it, expected https://HOST:8000/v1") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
            raise InputError(f"{shortened(self.url)}: expected an endpoint such as https://HOST/v1, without a user or a query")

    @property
    def name(self) -> str:
        return f"{self.url.rstrip('/')} {self.model} {self.answers} {self.tokens}"

    def answer(self, question: Question) -> str:
        try:
            with _deadline(self._connection(), self.seconds) as connection:
                path = urlsplit(self.url).path.rstrip("/") + "/chat/completions"
                connection.request("POST", path, json.dumps(self._asked(question)).encode(), self._headers())
                response = connection.getresponse()
                status, said = response.status, response.getheader("Retry-After", "")
                body = _read(response)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ModelError(f"no answer ({self._quoted(error)})", retry=True) from None
        if status != 200:
            retry = status in AGAIN or status >= 500
            raise ModelError(f"HTTP {status}{self._reason(body)}", retry=retry, wait=seconds_to_wait(said))
        content = _content(body)
        if self.key and any(self.key in text for text in (content, _ESCAPE.sub(_unescaped, content))):
            raise ModelError("an answer with the key in it", retry=False)
        return content

    def _connection(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.seconds)
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self.seconds, context=context)

    def _headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        return {"Content-Type": "application/json", "Accept": "application/json"} | key

    def _asked(self, question: Question) -> dict[str, Any]:
        pictures = [{"type": "image_url", "image_url": {"url": data_url(picture)}} for picture in question.pictures]
        formats = {
            "json_schema": {"type": "json_schema", "json_schema": {"name": "shot", "strict": True, "schema": question.schema}},
            "json_object": {"type": "json_object"},
        }
        asked = {
            "model": self.model,
            "messages": [{"role": "user", "content": [*pictures, {"type": "text", "text": question.words}]}],
            "temperature": 0,
            "max_tokens": self.tokens,
        }
        return asked | ({"response_format": formats[self.answers]} if self.answers in formats else {})

    def _reason(self, body: bytes) -> str:
        """What the server says went wrong, as far as it says it in the usual form."""
        try:
            told = json.loads(body)["error"]["message"]
        except (ValueError, KeyError, TypeError, RecursionError):
            return ""
        return f" ({self._quoted(told)})" if isinstance(told, str) else ""

    def _quoted(self, told: str | Exception) -> str:
        """What a server or the system says, on one line, short, and without the key."""
        text = " ".join((str(told) or type(told).__name__).split())
        return shortened(text.replace(self.key, "...") if self.key else text)


def read_key(variable: str) -> str:
    """The key in an environment variable. Raises InputError, which does not quote it, if it is missing or is none."""
    key = os.environ.get(variable, "")
    if not key:
        raise InputError(f"environment variable {variable}: found nothing, expected the endpoint's key")
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise InputError(f"environment variable {variable}: found characters that no key has, expected the endpoint's key")
    return key


def _unescaped(found: re.Match) -> str:
    return chr(int(found[1], 16)) if found[1] else found[2]


def data_url(picture: bytes) -> str:
    kind = "png" if picture.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"


def seconds_to_wait(header: str) -> float:
    """What a Retry-After asks for, in seconds or as a date, `LONGEST_WAIT` at most; 0 if it says nothing that can be read."""
    text = header.strip()
    try:
        wait = float(text) if text.isascii() and text.isdecimal() else _until(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return min(max(wait, 0.0), LONGEST_WAIT)


def _until(date: str) -> float:
    return email.utils.parsedate_to_datetime(date).timestamp() - time.time()


@contextlib.contextmanager
def _deadline(connection: http.client.HTTPConnection, seconds: float) -> Iterator[http.client.HTTPConnection]:
    """Connects, and closes the connection when the time is up: a socket's own timeout starts anew with every byte."""
    done = threading.Event()
    late = threading.Event()
    opened: list[socket.socket] = []  # the connection lets go of its own once it knows that the server will close

    def watch() -> None:
        wait = seconds
        while not done.wait(wait):
            late.set()
            wait = 0.1  # until there is a socket to shut
            for sock in opened:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        connection.connect()
        opened.append(connection.sock)
        yield connection
    except (OSError, http.client.HTTPException, ValueError) as error:
        if not (late.is_set() or isinstance(error, TimeoutError)):  # the socket's own limit is the same
            raise
        raise TimeoutError(f"not within {seconds:g} s") from error
    else:
        if late.is_set():  # where a connection ends, headers end without an error
            raise TimeoutError(f"not within {seconds:g} s")
    finally:
        done.set()
        connection.close()
        watcher.join()


def _read(response: http.client.HTTPResponse) -> bytes:
    """The body. ModelError if it is larger than `MOST_BYTES`; IncompleteRead if it ends early."""
    pieces, size = [], response.length or 0
    if size <= MOST_BYTES:
        size = 0
        while size <= MOST_BYTES and (piece := response.read(1 << 16)):
            size += len(piece)
            pieces.append(piece)
    if size > MOST_BYTES:
        raise ModelError(f"an answer of {size:,} bytes or more, expected {MOST_BYTES:,} at most", retry=True)
    if response.length:  # read(n) does not raise on what is missing
        raise http.client.IncompleteRead(b"", response.length)
    return b"".join(pieces)


def _content(body: bytes) -> str:
    try:
        choice = json.loads(body)["choices"][0]
        content, why = choice["message"]["content"], choice.get("finish_reason")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ModelError("an answer that is no chat completion", retry=True) from None
    if not isinstance(content, str):
        raise ModelError("an answer without text", retry=True)
    if why == "length":
        raise ModelError("an answer that the token limit cut off", retry=True)
    return content
