"""A real JupyterLab in a headless Chromium, for tests of notebooks and widgets.

    with jupyter_lab(tmp_path) as lab:                # our notebooks, and notebooks={"x.ipynb": nb}
        lab.open("01_quickstart.ipynb")
        lab.run_all()
        lab.wait_idle()
        lab.button("Run").click()
        lab.page.wait_for_selector("text=done")

When the block ends without an error, the page must have asked nobody but its server, the server
and its kernels nobody but this machine, and neither console nor page may have told an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import nbformat
import psutil
from playwright.sync_api import ConsoleMessage, Locator, Page, Request, WebSocket, sync_playwright

from tests.browser import CHROMIUM, FLAGS, MISSING
from tests.lab.server import LabServer

__all__ = ["CHROMIUM", "MISSING", "JupyterPage", "code_notebook", "jupyter_lab"]

OURS = frozenset({"--headless", "--remote-debugging-pipe"})
"""Flags that playwright sets itself."""
HOSTS = ("127.0.0.1", "localhost")
ALLOWED = {
    "attachment:": "JupyterLab shows a cell's own picture to the browser by this name before it "
    "puts the picture itself in; nothing is asked. See `broken_pictures` for those that stay so.",
    "widget model not found": "JupyterLab says so of each widget in a notebook that is opened "
    "before its cells have run. The picture below the widget is shown then.",
}
"""Parts of requests and errors that are allowed, and why. A test may give `jupyter_lab` more."""
NOTEBOOK = "jupyterapp.shell.currentWidget"
CELLS = f"{NOTEBOOK}.content.widgets"
KERNEL_IDLE = f"{NOTEBOOK}.sessionContext.session?.kernel?.status === 'idle'"
CELLS_IDLE = f"{CELLS}.every(cell => (cell.model.executionState ?? 'idle') === 'idle')"
SECOND_MS = 1_000


class JupyterPage:
    """One tab with JupyterLab. Cells are counted from 0, all kinds of cells together.

    `requests`: every address that the page asked; `console`: what it said, as `type: text`;
    `errors`: what of this is an error.
    """

    def __init__(
        self, server: LabServer, page: Page, allowed: Mapping[str, str] | None = None
    ) -> None:
        self.server, self.page = server, page
        self._allowed = (*ALLOWED, *(allowed or {}))
        self.requests: list[str] = []
        self.console: list[str] = []
        self.errors: list[str] = []
        page.on("request", self._request)
        page.on("websocket", self._websocket)
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.errors.append(f"page: {error.stack or error}"))

    # --- What tests do ---

    def open(self, notebook: str, timeout_s: float = 60) -> None:
        """Open a notebook alone, and wait until its kernel is ready."""
        base, _, token = self.server.url.partition("?")
        folder = base.rpartition("/")[0]
        self.page.goto(f"{folder}/{notebook}?reset&{token}")
        self._wait_opened(timeout_s)

    def open_first(self, timeout_s: float = 60) -> None:
        """Open the address that the command printed, as it is."""
        self.page.goto(self.server.url)
        self._wait_opened(timeout_s)

    def reload(self, timeout_s: float = 60) -> None:
        """Load the page anew. The kernel goes on, so it may be busy afterwards."""
        self.page.reload()
        self._wait_shown(timeout_s)
        self.wait_for(f"{NOTEBOOK}.sessionContext.session?.kernel", timeout_s)

    def run_all(self) -> None:
        """Begin to run all cells; see `wait_idle`."""
        self.command("notebook:run-all-cells")

    def run_cell(self, number: int) -> None:
        """Begin to run one cell; see `wait_idle`."""
        self.page.evaluate(f"{NOTEBOOK}.content.activeCellIndex = {number}")
        self.command("notebook:run-cell")

    def wait_idle(self, timeout_s: float = 120) -> None:
        """Wait until nothing runs. A cell that failed is an AssertionError with its message."""
        self.wait_for(f"!window.begun && {KERNEL_IDLE} && {CELLS_IDLE}", timeout_s)
        failed = self.cell_errors()
        assert not failed, "\n".join(failed)

    def wait_busy(self, timeout_s: float = 30) -> None:
        """Wait until a cell runs."""
        self.wait_for(f"{NOTEBOOK}.sessionContext.session?.kernel?.status === 'busy'", timeout_s)

    def wait_for(self, js: str, timeout_s: float = 30) -> None:
        """Wait until a JavaScript expression is truthy."""
        self.page.wait_for_function(f"() => !!({js})", timeout=timeout_s * SECOND_MS)

    def button(self, name: str) -> Locator:
        """The button of a widget, by the name that a screen reader says: `.click()` it.

        It is looked for in outputs of cells alone, as JupyterLab has buttons of the same names.
        """
        outputs = self.page.locator(".jp-OutputArea-output")
        return outputs.get_by_role("button", name=name, exact=True)

    def command(self, name: str) -> None:
        """Begin a command of JupyterLab, by its id; `wait_idle` waits for its end."""
        self.page.evaluate(
            "name => { window.begun = (window.begun ?? 0) + 1;"
            " jupyterapp.commands.execute(name).finally(() => { window.begun -= 1; }); }",
            name,
        )

    def save(self, timeout_s: float = 30) -> None:
        """Write the notebook to its file."""
        self.command("docmanager:save")
        self.wait_for(f"!{NOTEBOOK}.context.model.dirty", timeout_s)

    def screenshot(self, path: str | Path) -> None:
        """A PNG of the window."""
        self.page.screenshot(path=path)

    # --- What tests look at ---

    def outputs(self, number: int) -> list[dict[str, Any]]:
        """The outputs of a cell, as a notebook's file holds them."""
        found: list[dict[str, Any]] = self.page.evaluate(
            f"{CELLS}[{number}].model.outputs?.toJSON() ?? []"
        )
        return found

    def text(self, number: int) -> str:
        """What a cell printed, and its result as plain text."""
        parts = []
        for output in self.outputs(number):
            said = output.get("text") or output.get("data", {}).get("text/plain", "")
            parts.append(said if isinstance(said, str) else "".join(said))
        return "".join(parts)

    def cell_errors(self) -> list[str]:
        """The cells that failed, and how."""
        count = int(self.page.evaluate(f"{CELLS}.length"))
        return [
            f"cell {number}: {output['ename']}: {output['evalue']}"
            for number in range(count)
            for output in self.outputs(number)
            if output["output_type"] == "error"
        ]

    def untrusted(self) -> list[int]:
        """The code cells whose output is not trusted."""
        found: list[int] = self.page.evaluate(
            f"{CELLS}.flatMap((cell, n) => "
            "cell.model.type === 'code' && !cell.model.trusted ? [n] : [])"
        )
        return found

    def notifications(self) -> list[str]:
        """What JupyterLab tells in pop-ups, among them the question about news."""
        return self.page.locator(".Toastify__toast").all_inner_texts()

    def broken_pictures(self) -> list[str]:
        """The names of pictures on the page, now in the DOM, that the browser could not show."""
        found: list[str] = self.page.evaluate(
            "[...document.images].filter(image => image.complete && !image.naturalWidth)"
            ".map(image => image.alt || image.src)"
        )
        return found

    def node_processes(self) -> list[psutil.Process]:
        """The chain's nodes (anvil) that kernels have started."""
        return self.server.node_processes()

    def problems(self) -> list[str]:
        """Requests to anybody but this machine, and errors that are not allowed."""
        told = [
            *(f"the page asked {url}" for url in self.requests if not _is_local(url)),
            *(f"the server did {line}" for line in self.server.asked()),
            *(f"error: {told}" for told in self.errors),
        ]
        return [each for each in told if not any(part in each for part in self._allowed)]

    # --- Underneath ---

    def _wait_shown(self, timeout_s: float) -> None:
        self.wait_for(f"window.jupyterapp && {NOTEBOOK} && {NOTEBOOK}.content?.widgets", timeout_s)
        self.page.evaluate("jupyterapp.restored.then(() => true)")
        self.page.evaluate(f"{NOTEBOOK}.context.ready.then(() => true)")

    def _wait_opened(self, timeout_s: float) -> None:
        self._wait_shown(timeout_s)
        self.wait_for(KERNEL_IDLE, timeout_s)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def _websocket(self, socket: WebSocket) -> None:
        self.requests.append(socket.url)

    def _said(self, message: ConsoleMessage) -> None:
        told = f"{message.type}: {message.text} {message.location.get('url', '')}".rstrip()
        self.console.append(told)
        if message.type == "error":
            self.errors.append(told)


def _is_local(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("data", "blob", "about") or parts.hostname in HOSTS


@contextmanager
def jupyter_lab(
    folder: Path,
    notebooks: Mapping[str, Any] | None = None,
    *,
    allowed: Mapping[str, str] | None = None,
    width: int = 1400,
    height: int = 900,
    dark: bool = False,
) -> Iterator[JupyterPage]:
    """A server in `folder`, and a page of a new Chromium on it; see the module.

    `notebooks`: more than ours, as nbformat nodes by file name. `allowed`: parts of
    requests and errors that are allowed, each with its reason.
    """
    flags = [flag for flag in FLAGS if flag not in OURS]
    with LabServer(folder, notebooks) as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if dark else "light",
            )
            lab = JupyterPage(server, page, allowed)
            try:
                yield lab
            except BaseException:
                page.screenshot(path=folder / "failed.png")
                told = (f"the page is in {folder / 'failed.png'}", *lab.problems(), server.log())
                sys.stderr.write("\n".join(told))
                raise
            assert not lab.problems(), "\n".join(lab.problems())
        finally:
            browser.close()


def code_notebook(*cells: str) -> Any:
    """A notebook of code cells, in which nothing has run yet."""
    make: Any = nbformat.v4
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = make.new_notebook(metadata={"kernelspec": kernel})
    notebook.cells = [make.new_code_cell(cell) for cell in cells]
    return notebook
