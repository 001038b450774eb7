"""A headless Chromium for tests, spoken to through a pipe: no port, no driver, nothing installed.

    with Browser(width=360, height=740) as page:
        page.goto(url)
        page.wait_for("document.querySelector('h1')")
        assert page.eval("document.title") == "…"
        page.screenshot(path)

Chromium ends when its pipe closes, so it also ends with a test process that is killed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import selectors
import shutil
import signal
import subprocess
import tempfile
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None
)
MISSING = "Chromium is not installed (Debian: apt-get install chromium)"
"""Why a test is skipped: `pytest.mark.skipif(CHROMIUM is None, reason=MISSING)`."""

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
)


class BrowserError(AssertionError):
    """The page threw, or did not come to what was waited for."""


class Browser:
    """One tab. `requests` holds every URL the page asked for, `console` what it said there."""

    def __init__(
        self, width: int = 1280, height: int = 800, *, dark: bool = False, timeout_s: float = 20
    ) -> None:
        assert CHROMIUM is not None, MISSING
        self.timeout_s = timeout_s
        self.requests: list[str] = []
        self.console: list[str] = []
        self.errors: list[str] = []
        self._events: deque[dict[str, Any]] = deque()
        self._answers: dict[int, dict[str, Any]] = {}
        self._buffer, self._calls, self._session = b"", 0, None
        self._profile = tempfile.mkdtemp(prefix="workbench-browser-")
        try:
            self._start()
            self._attach(width, height, dark)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # --- What tests say -------------------------------------------------------------------------

    def goto(self, url: str) -> None:
        """Open `url` and wait until it has loaded."""
        self._events.clear()
        answer = self.call("Page.navigate", url=url)
        if "errorText" in answer:
            raise BrowserError(f"{url}: {answer['errorText']}")
        self._until(lambda event: event["method"] == "Page.loadEventFired", f"{url} to load")

    def eval(self, js: str) -> Any:
        """The value of a JavaScript expression (awaited, if a promise), as JSON can say it."""
        answer = self.call(
            "Runtime.evaluate",
            expression=js,
            returnByValue=True,
            awaitPromise=True,
            userGesture=True,
        )
        if "exceptionDetails" in answer:
            details = answer["exceptionDetails"]
            raise BrowserError(details.get("exception", {}).get("description", details["text"]))
        return answer["result"].get("value")

    def wait_for(self, js: str, timeout_s: float | None = None) -> None:
        """Wait until the expression is truthy, as JavaScript sees it."""
        until = time.monotonic() + (timeout_s or self.timeout_s)
        while not self.eval(f"!!({js})"):
            if time.monotonic() > until:
                raise BrowserError(f"never came true: {js}\n--- the page ---\n{self.text()[:2000]}")
            time.sleep(0.03)

    def text(self) -> str:
        """What a reader sees."""
        return str(self.eval("document.body.innerText"))

    def click(self, selector: str) -> None:
        """A click at the middle of the first element that fits, where the mouse would hit it.

        Once it stands still: a page that has just been told something may be drawn anew.
        """
        find = f"document.querySelector({json.dumps(selector)})"
        where = self.eval(
            "(async () => {"
            f" const at = () => {{ const b = {find}.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; };"
            f" {find}.scrollIntoView({{block: 'center', behavior: 'instant'}});"
            " for (let was = at(), still = 0; still < 3;) {"
            " await new Promise(requestAnimationFrame); const now = at();"
            " still = `${now}` === `${was}` ? still + 1 : 0; was = now; }"
            " return at(); })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.mouse(kind, *where, button="left", clickCount=1)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """`mouseMoved`, `mousePressed` or `mouseReleased` at CSS pixels."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def key(self, name: str, **more: Any) -> None:
        """Press and release a key by its DOM name, such as `Tab`, `Enter` or `ArrowRight`."""
        text = {"Enter": "\r", " ": " "}.get(name, "")
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        code = codes.get(name, 0)
        kinds = ("keyDown" if text else "rawKeyDown", "keyUp")
        for kind in kinds:
            self.call(
                "Input.dispatchKeyEvent",
                type=kind,
                key=name,
                text=text,
                windowsVirtualKeyCode=code,
                **more,
            )

    def resize(self, width: int, height: int) -> None:
        """The window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def theme(self, dark: bool) -> None:
        value = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[value])

    def overflow(self) -> int:
        """By how many CSS pixels the page is wider than its window: 0 is right."""
        return int(self.eval("document.documentElement.scrollWidth - innerWidth"))

    def screenshot(self, path: str | Path, *, full: bool = False) -> None:
        """A PNG of the window, or of the full page."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=full)
        if full:
            size = self.call("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            shot = self.call(
                "Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip
            )
        Path(path).write_bytes(base64.b64decode(shot["data"]))

    # --- The DevTools protocol ------------------------------------------------------------------

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol; its result."""
        self._calls += 1
        number = self._calls
        message: dict[str, Any] = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        until = time.monotonic() + self.timeout_s
        while number not in self._answers:
            self._read(until, method)
        answer = self._answers.pop(number)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']['message']}")
        result: dict[str, Any] = answer["result"]
        return result

    def close(self) -> None:
        """End Chromium and all its children, and leave nothing behind."""
        for name in ("_to", "_from"):
            if hasattr(self, name):
                with contextlib.suppress(OSError):
                    os.close(getattr(self, name))
                delattr(self, name)
        if hasattr(self, "_process"):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3)
            # Its own group, which it leads: helpers that did not notice the end go too.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        shutil.rmtree(self._profile, ignore_errors=True)

    def _start(self) -> None:
        """Chromium reads commands from descriptor 3 and answers on 4."""
        held = _hold_3_and_4()
        theirs_in, self._to = os.pipe()
        self._from, theirs_out = os.pipe()
        # First out of the way: an end might itself be 3 or 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        try:
            self._process = subprocess.Popen(
                [str(CHROMIUM), *FLAGS, f"--user-data-dir={self._profile}", "about:blank"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(3, 4),
                preexec_fn=place,  # noqa: PLW1509 - nothing else places a pipe at 3 and 4
            )
        finally:
            for descriptor in (*ends, theirs_in, theirs_out, *held):
                os.close(descriptor)

    def _attach(self, width: int, height: int, dark: bool) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            targets = self.call("Target.getTargets")["targetInfos"]
            page = next((t for t in targets if t["type"] == "page"), None)
            if page:
                break
            if time.monotonic() > until:
                raise BrowserError("Chromium opened no page")
            time.sleep(0.02)
        answer = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)
        self.theme(dark)

    def _read(self, until: float, waiting_for: str) -> None:
        """Take in what Chromium says next."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._from, selectors.EVENT_READ)
            if not selector.select(max(0.0, until - time.monotonic())):
                raise BrowserError(f"Chromium did not answer in time: {waiting_for}")
        chunk = os.read(self._from, 1 << 20)
        if not chunk:
            raise BrowserError(f"Chromium ended while waiting for {waiting_for}")
        *messages, self._buffer = (self._buffer + chunk).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self._answers[message["id"]] = message
            else:
                self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        params = event.get("params", {})
        match event["method"]:
            case "Network.requestWillBeSent":
                self.requests.append(params["request"]["url"])
            case "Runtime.consoleAPICalled":
                words = (str(a.get("value", a.get("description", ""))) for a in params["args"])
                self.console.append(" ".join(words))
            case "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description", details["text"]))
            case "Log.entryAdded" if params["entry"]["level"] == "error":
                self.errors.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")

    def _until(self, wanted: Any, what: str) -> None:
        until = time.monotonic() + self.timeout_s
        while True:
            while self._events:
                if wanted(self._events.popleft()):
                    return
            self._read(until, what)


def _hold_3_and_4() -> list[int]:
    """Make sure that both are taken here, so that Popen's own pipe is none of them."""
    held: list[int] = []
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 4:
        held.append(descriptor)
    return [*held, descriptor]
