"""A language model behind an HTTP endpoint of OpenAI's kind (vLLM, llama.cpp, Ollama and many others have it), asked for JSON.

What comes back is not trusted: it is limited in size, has to be JSON, and goes through a check of the caller's, whose objection
goes back to the model until it is met or the tries are used up.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stage_jax.errors import InputError
from stage_jax.story.schema import shortened

T = TypeVar("T")
LARGEST_REPLY = 8 * 2**20  # bytes
TRIES = 3


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected request would take the key along to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


@dataclass(frozen=True)
class Endpoint:
    """url: up to and without /chat/completions, such as http://localhost:8000/v1. model: its name there. key: sent as a bearer
    token if there is one. seconds: how long a reply may take."""

    url: str
    model: str
    key: str = field(default="", repr=False)
    seconds: float = 300.0

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InputError(f"{shortened(self.url)}: expected an endpoint such as http://localhost:8000/v1")

    def reply(self, messages: Sequence[dict[str, Any]], name: str, schema: dict[str, Any]) -> str:
        """The text of one reply to a chat. schema: a JSON schema for it, called `name`. InputError if there is none."""
        body = {
            "model": self.model,
            "messages": list(messages),
            "response_format": {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}},
        }
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        url = f"{self.url.rstrip('/')}/chat/completions"
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.seconds) as response:
                data = response.read(LARGEST_REPLY + 1)
        except urllib.error.HTTPError as error:
            said = shortened(error.read(1000).decode("utf-8", "replace"))
            raise InputError(f"{url}: answered {error.code} {error.reason}: {said}") from None
        except (OSError, ValueError) as error:
            raise InputError(f"{url}: no answer ({shortened(str(error))}), expected a chat endpoint") from None
        if len(data) > LARGEST_REPLY:
            raise InputError(f"{url}: a reply of over {LARGEST_REPLY >> 20} MiB, expected less")
        try:
            return str(json.loads(data)["choices"][0]["message"]["content"])
        except (ValueError, LookupError, TypeError, RecursionError):
            raise InputError(f"{url}: found {shortened(data.decode('utf-8', 'replace'))}, expected a chat's reply") from None

    def ask(
        self, messages: Sequence[dict[str, Any]], name: str, schema: dict[str, Any], check: Callable[[Any], T]
    ) -> T:
        """What `check` makes of the JSON in a reply. An InputError of `check`, or of what is no JSON, is told to the model,
        which then tries again; the last one is raised."""
        chat = list(messages)
        for attempt in range(TRIES):
            text = self.reply(chat, name, schema)
            try:
                return check(parsed(text))
            except InputError as error:
                if attempt == TRIES - 1:
                    raise InputError(f"{self.url}: {self.model} gave no {name} in {TRIES} tries; the last: {error}") from None
                again = f"That cannot be used. {error}. Send the whole JSON object again, corrected, and nothing else."
                chat += [{"role": "assistant", "content": text}, {"role": "user", "content": again}]
        raise AssertionError


def parsed(text: str) -> Any:
    """The JSON object in a reply, whatever stands around it (a code fence, a greeting)."""
    try:
        return json.loads(text[text.index("{") : text.rindex("}") + 1])
    except (ValueError, RecursionError):
        raise InputError(f"found {shortened(text)!r}, expected a JSON object") from None
