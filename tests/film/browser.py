"""A headless Chromium, driven over the DevTools protocol through two pipes: no port, and no client library, is needed."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CHROMIUM = "/usr/bin/chromium"
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --hide-scrollbars --remote-debugging-pipe"
)
PATIENCE = 60.0  # seconds for an answer


class Page:
    """One page of the browser. `send` speaks the protocol; the rest are its words that tests use."""

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing, self._rest = reading, writing, b""
        self._number, self._session = 0, ""
        self.events: list[dict[str, Any]] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a command; what happens until it comes is kept in `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._writing, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self.events.append(answer)

    def open(self, path: Path, width: int, height: int = 900, dark: bool = False) -> None:
        """Shows a file and waits until it is loaded."""
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.send("Emulation.setEmulatedMedia", features=[*scheme, {"name": "prefers-reduced-motion", "value": "reduce"}])
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.send("Page.navigate", url=path.as_uri())
        self.until("document.readyState === 'complete' && document.querySelector('main') !== null")

    def value(self, expression: str) -> Any:
        """What a JavaScript expression is in the page; what it promises is waited for."""
        result = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True, userGesture=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, expression: str) -> None:
        end = time.monotonic() + PATIENCE
        while not self.value(expression):
            assert time.monotonic() < end, f"never came true: {expression}"
            time.sleep(0.05)

    def press(self, key: str) -> None:
        """A key of the keyboard, by its name or its letter."""
        text = {"text": key} if len(key) == 1 else {}
        code = {" ": "Space"}.get(key, key)
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=code, **(text if kind == "keyDown" else {}))

    def happened(self, *methods: str) -> list[dict[str, Any]]:
        """What events of these kinds said, so far."""
        return [event["params"] for event in self.events if event.get("method") in methods]

    def picture(self) -> np.ndarray:
        """The whole page as it is shown, uint8 [H, W, 3]."""
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def printed(self) -> bytes:
        """The page as the PDF that printing gives."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True, preferCSSPageSize=True)["data"])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._reading], [], [], PATIENCE)[0], "the browser says nothing"
            read = os.read(self._reading, 1 << 20)
            assert read, "the browser has gone"
            self._rest += read
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


@contextmanager
def browser(profile: Path) -> Iterator[Page]:
    """A page in a browser of its own, which ends with the block."""
    to_read, to_write = os.pipe(), os.pipe()
    # The browser reads commands from descriptor 3 and writes answers to 4.
    command = f'exec {CHROMIUM} {FLAGS} --user-data-dir="$0" 3<&{to_write[0]} 4>&{to_read[1]}'
    process = subprocess.Popen(
        ["bash", "-c", command, str(profile)], pass_fds=(to_write[0], to_read[1]), stderr=subprocess.DEVNULL
    )
    os.close(to_write[0])
    os.close(to_read[1])
    try:
        yield Page(to_read[0], to_write[1])
    finally:
        process.terminate()
        process.wait(30)
        os.close(to_read[0])
        os.close(to_write[1])
