"""A headless Chromium that opens a page and tells what happened, by the DevTools protocol over a pipe."""

from __future__ import annotations

import base64
import io
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)
SECONDS = 60
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-pipe",
    "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND", "about:blank",
)  # fmt: skip
# the browser speaks on file descriptors 3 and 4; above 10 nothing is in the way
LAUNCH = (
    "import fcntl, os, sys; read, write = (fcntl.fcntl(int(word), fcntl.F_DUPFD, 10) for word in sys.argv[1:3]); "
    "os.dup2(read, 3); os.dup2(write, 4); os.execv(sys.argv[3], sys.argv[3:])"
)
MEASURE = """(() => {
  const shown = [...document.querySelectorAll("svg text")].map(text => [text, text.getBoundingClientRect()])
    .filter(([text, box]) => box.width > 0);
  const overlapping = [];
  shown.forEach(([text, box], place) => shown.slice(place + 1).forEach(([other, its]) => {
    if (text.ownerSVGElement === other.ownerSVGElement && box.left < its.right - 1 && its.left < box.right - 1
        && box.top < its.bottom - 2 && its.top < box.bottom - 2)
      overlapping.push(`${text.textContent} / ${other.textContent}`);
  }));
  const wide = [...document.querySelectorAll("body *")].filter(element => !element.closest(".scroll, svg")
    && element.getBoundingClientRect().right > innerWidth + 1).map(element => element.outerHTML.slice(0, 120));
  return {width: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight,
          smallest: Math.min(99, ...shown.map(([text]) => {
            const scale = text.getScreenCTM();
            return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(scale.a, scale.b);
          })),
          overlapping, wide};
})()"""


class Shot(NamedTuple):
    """A page as the browser showed it.

    picture: (H, W, 3) uint8.
    complaints: errors and warnings on the console, exceptions, refusals by the page's own policy.
    requests: addresses asked for, other than the page itself and data: URLs.
    measured: width and height of the page, smallest text in charts (px), overlapping texts in charts, elements
        that reach over the right edge.
    """

    picture: np.ndarray
    complaints: list[str]
    requests: list[str]
    measured: dict[str, Any]


class Chromium:
    """One browser for several pages; `close` ends it."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM is not None
        its_input, self.write = os.pipe()
        self.read, its_output = os.pipe()
        words = [
            sys.executable,
            "-c",
            LAUNCH,
            str(its_input),
            str(its_output),
            CHROMIUM,
            f"--user-data-dir={profile}",
        ]
        self.process = subprocess.Popen(
            [*words, *FLAGS],
            pass_fds=(its_input, its_output),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(its_input)
        os.close(its_output)
        self.rest, self.count, self.events = b"", 0, list[dict[str, Any]]()

    def shoot(self, page: Path, width: int, *, dark: bool = False, unfold: bool = False) -> Shot:
        """Open a page in a window of this width and take a picture of all of it; `unfold` opens every <details>."""
        self.events.clear()
        target = self._ask("Target.createTarget", url="about:blank")["targetId"]
        session = self._ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._ask(f"{domain}.enable", session)
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self._ask("Emulation.setDeviceMetricsOverride", session, **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._ask("Emulation.setEmulatedMedia", session, features=[scheme])
        self._ask("Page.navigate", session, url=page.as_uri())
        while self._evaluate(session, "location.href + document.readyState") != f"{page.as_uri()}complete":
            time.sleep(0.02)
        if unfold:
            self._evaluate(session, "document.querySelectorAll('details').forEach(one => one.open = true)")
        measured = self._evaluate(session, MEASURE)
        clip = {"x": 0, "y": 0, "width": width, "height": min(measured["height"], 16000), "scale": 1}
        shot = self._ask("Page.captureScreenshot", session, captureBeyondViewport=True, clip=clip)
        self._ask("Target.closeTarget", targetId=target)
        with Image.open(io.BytesIO(base64.b64decode(shot["data"]))) as image:
            picture = np.asarray(image.convert("RGB"))
        return Shot(picture, *self._heard(page), measured)

    def close(self) -> None:
        """End the browser."""
        self.process.terminate()
        self.process.wait(SECONDS)
        os.close(self.read)
        os.close(self.write)

    def _heard(self, page: Path) -> tuple[list[str], list[str]]:
        complaints, requests = [], []
        for event in self.events:
            name, told = event["method"], event["params"]
            if name == "Network.requestWillBeSent":
                address = told["request"]["url"]
                if address != page.as_uri() and not address.startswith("data:"):
                    requests.append(address)
            elif name == "Log.entryAdded" and told["entry"]["level"] in ("error", "warning"):
                complaints.append(told["entry"]["text"])
            elif name == "Runtime.exceptionThrown" or (
                name == "Runtime.consoleAPICalled" and told["type"] in ("error", "warning", "assert")
            ):
                complaints.append(json.dumps(told))
        return complaints, requests

    def _evaluate(self, session: str, expression: str) -> Any:
        answer = self._ask("Runtime.evaluate", session, expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def _ask(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        self.count += 1
        asked = {"id": self.count, "method": method, "params": parameters} | (
            {"sessionId": session} if session else {}
        )
        os.write(self.write, json.dumps(asked).encode() + b"\0")
        while (answer := self._next()).get("id") != self.count:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + SECONDS
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.read], [], [], max(0, until - time.monotonic()))
            assert ready, f"the browser said nothing for {SECONDS} s"
            piece = os.read(self.read, 1 << 20)
            assert piece, "the browser ended"
            self.rest += piece
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)
