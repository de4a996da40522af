"""A server that answers as told: well, slowly, wrongly, cut off, not at all, or with malice."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Each request goes to the next of the server's `replies`, the last one again and again."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked = json.loads(body)
        with self.server.lock:
            self.server.requests.append((dict(self.headers), self.asked))
            reply = self.server.replies.pop(0) if len(self.server.replies) > 1 else self.server.replies[0]
        with contextlib.suppress(OSError):  # the client has gone
            reply(self)

    def do_GET(self) -> None:
        with self.server.lock:
            self.server.requests.append((dict(self.headers), {}))

    def log_message(self, *_: object) -> None:
        """Says nothing."""

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


def completion(content: Any, why: str = "stop") -> bytes:
    return json.dumps({"choices": [{"message": {"content": content}, "finish_reason": why}]}).encode()


def says(content: Any, why: str = "stop") -> Reply:
    """A completion whose text is `content`, or its JSON."""
    text = content if isinstance(content, str) or content is None else json.dumps(content)
    return lambda handler: handler.send(completion(text, why))


def fails(status: int, message: str = "no", **headers: str) -> Reply:
    return lambda handler: handler.send(json.dumps({"error": {"message": message}}).encode(), status, **headers)


def raw(data: bytes) -> Reply:
    """These bytes and then the end."""

    def reply(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.wfile.flush()
        handler.close_connection = True

    return reply


@contextlib.contextmanager
def serving(*replies: Reply) -> Iterator[ThreadingHTTPServer]:
    """A server on this machine; `url`, `requests` and `replies` are its attributes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    server.replies, server.requests, server.lock = list(replies), [], threading.Lock()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
