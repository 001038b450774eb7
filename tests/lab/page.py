"""A page with the lanes and a fake of anywidget's model, in the tests' own Chromium."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.browser import Browser
from workbench.lab.module import widget_module

LANES = "document.querySelector('[aria-label=\"Settlements\"]')"
HERE = Path(__file__).parent


def page_text() -> str:
    """The page; `start(options)` in it shows the lanes."""
    # The adapter's export has no place in a page's own script.
    module = widget_module().replace("export default", "const widget =")
    text = (HERE / "page.html").read_text("utf-8")
    text = text.replace("/* FAKE */", (HERE / "fake_model.js").read_text("utf-8"))
    return text.replace("/* MODULE */", module.replace("export function", "function"))


class LanesPage:
    """The lanes in a tab; `tell` is what the kernel would send."""

    def __init__(self, browser: Browser, *, compact: bool = False) -> None:
        self.browser = browser
        self._folder = tempfile.TemporaryDirectory()
        path = Path(self._folder.name) / "lanes.html"
        path.write_text(page_text(), "utf-8")
        browser.goto(path.as_uri())
        browser.wait_for("window.ready")
        browser.eval(f"start({json.dumps({'compact': compact})})")
        # A canvas that is read is drawn in another way from then on: from the start, here.
        browser.eval("void [sum(), sum()]")

    def close(self) -> None:
        self.browser.goto("about:blank")
        self._folder.cleanup()

    def tell(self, message: dict[str, Any], data: bytes | None = None) -> None:
        text = json.dumps(base64.b64encode(data).decode()) if data else "null"
        self.browser.eval(f"void model.tell({json.dumps(message)}, {text})")

    def tell_all(self, messages: Iterable[tuple[dict[str, Any], bytes | None]]) -> None:
        for message, data in messages:
            self.tell(message, data)
        self.settle()

    def settle(self) -> None:
        """Wait until all that was told is drawn."""
        self.browser.eval("new Promise((done) => setTimeout(done, 90)).then(() => frames(2))")

    def attribute(self, name: str) -> str:
        return str(self.browser.eval(f"{LANES}.getAttribute('{name}')"))

    def sent(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.browser.eval(
            f"model.sent.filter((message) => message.kind == '{kind}')"
        )
        return found

    def pixels(self) -> int:
        """A number for all that is on the canvases."""
        return int(self.browser.eval("sum()"))

    def counts(self) -> dict[str, int]:
        """Outcomes as the right column shows them."""
        found: dict[str, int] = self.browser.eval(
            "Object.fromEntries([...document.querySelectorAll('[data-outcome]')]"
            ".map((e) => [e.dataset.outcome, Number(e.lastChild.textContent.replace(',', ''))]))"
        )
        return found
