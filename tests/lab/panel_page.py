"""A panel in a page of JupyterLab: press its buttons, fill its fields, read what it shows.

panel = PanelPage(lab, cell=2)            # The cell that shows the panel.
panel.press("Run")
panel.wait_state("live")
assert panel.ask("tour.session.orders") == "()"
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Locator

from tests.lab.jupyter import CELLS, NOTEBOOK, SECOND_MS, JupyterPage

SETTLEMENTS = '[aria-label="Settlements"]'
DATA = f"document.querySelector('{SETTLEMENTS}')?.dataset"
PATIENCE_S = 30
STANDS_STILL = """async (element) => {
  let was = "", still = 0;
  while (still < 20) {
    await new Promise(requestAnimationFrame);
    const { x, y, width, height } = element.getBoundingClientRect();
    const now = `${[x, y, width, height]}`;
    still = now === was ? still + 1 : 0;
    was = now;
  }
}"""
"""Ends once an element has kept its place and size for 20 frames."""


@dataclass(frozen=True)
class Shown:
    """What the element says of itself."""

    state: str
    lanes: int
    time_ms: int


class PanelPage:
    """The only panel of a notebook. `cell`: the number of the cell that shows it."""

    def __init__(self, lab: JupyterPage, cell: int, shots: Path) -> None:
        self.lab, self.cell, self.page = lab, cell, lab.page
        self.shots = Path(os.environ.get("WORKBENCH_SHOTS") or shots)
        self.shots.mkdir(parents=True, exist_ok=True)

    # --- What it shows ---

    @property
    def shown(self) -> Shown:
        """State, lanes and time of the element."""
        data = self.page.evaluate(f"({{...{DATA}}})")
        return Shown(data["state"], int(data["lanes"]), int(data["timeMs"]))

    @property
    def count(self) -> int:
        """How many elements with lanes the page has."""
        return self.page.locator(SETTLEMENTS).count()

    def wait_shown(self) -> None:
        """Wait until the element is there."""
        self.page.wait_for_selector(SETTLEMENTS)

    def wait_state(self, *states: str, timeout_s: float = PATIENCE_S) -> Shown:
        """Wait until the element is in one of these states."""
        self.lab.wait_for(f"{list(states)}.includes({DATA}?.state)", timeout_s)
        return self.shown

    def wait_time(self, after_ms: int, timeout_s: float = PATIENCE_S) -> Shown:
        """Wait until the element shows a later time than this."""
        self.lab.wait_for(f"Number({DATA}?.timeMs) > {after_ms}", timeout_s)
        return self.shown

    def wait_lanes(self, count: int, timeout_s: float = PATIENCE_S) -> Shown:
        """Wait until the element has this many lanes."""
        self.lab.wait_for(f"Number({DATA}?.lanes) === {count}", timeout_s)
        return self.shown

    @property
    def block(self) -> int:
        """The number of the block in the head."""
        text = self.page.locator(".wbl-head").inner_text()
        found = re.search(r"block ([\d,]+)", text)
        assert found, text
        return int(found[1].replace(",", ""))

    def wait_block(self, block: int) -> None:
        """Wait until the head shows this block, and the run stands."""
        said = f"block {block:,}"
        head = "document.querySelector('.wbl-head').innerText.split('\\n')"
        self.lab.wait_for(f"{head}.includes('{said}') && {DATA}.state === 'paused'")

    def alert(self) -> Locator:
        """The sentences in the left column that say what is wrong."""
        return self.page.locator(".wbp-left [role=alert]")

    def wait_alert(self, *words: str) -> str:
        """Wait for a sentence in the left column that has all these words; the sentence."""
        found = self.alert()
        for each in words:
            found = found.filter(has_text=each)
        found.first.wait_for(timeout=PATIENCE_S * SECOND_MS)
        return found.first.inner_text()

    def broken(self) -> str:
        """What stands below lanes that cannot go on."""
        told = self.page.locator(".wbl-broken")
        told.wait_for()
        return told.inner_text()

    def wait_enabled(self, name: str) -> None:
        """Wait until a button of the left column can be pressed."""
        until(self.button(name).is_enabled, self.lab)

    def wait_disabled(self, name: str) -> None:
        """Wait until a button of the left column cannot be pressed."""
        until(self.button(name).is_disabled, self.lab)

    def wait_no_alert(self) -> None:
        """Wait until nothing is wrong any more."""
        self.lab.wait_for("!document.querySelector('.wbp-left [role=alert]')")

    # --- What a user does ---

    def press(self, name: str) -> None:
        """A button of the left column."""
        self.button(name).click()

    def button(self, name: str) -> Locator:
        """A button of the left column, by its name."""
        left = self.page.locator(".wbp-left")
        return left.get_by_role("button", name=name, exact=True)

    def fill(self, label: str, text: str) -> None:
        """Write into a field of the left column, and leave it."""
        field = self.page.locator(".wbp-left").get_by_label(label, exact=True)
        field.fill(text)
        field.press("Enter")

    def choose(self, label: str, option: str) -> None:
        """Choose from a list of the left column."""
        self.page.locator(".wbp-left").get_by_label(label, exact=True).select_option(option)

    # --- Code beside it ---

    def scratch(self) -> int:
        """Another code cell below the panel's; its number."""
        place = self.cell + 1
        self.page.evaluate(
            f"{NOTEBOOK}.content.model.sharedModel.insertCell({place},"
            " {cell_type: 'code', source: ''})"
        )
        return place

    def run_code(self, source: str) -> None:
        """Begin to run this in the cell below the panel, which `scratch` has made."""
        place = self.cell + 1
        self.page.evaluate(
            f"source => {CELLS}[{place}].model.sharedModel.setSource(source)", source
        )
        self.lab.run_cell(place)

    def show(self, expression: str) -> None:
        """Let the panel's cell show this instead; it is `_shown` from then on."""
        source = f"_shown = {expression}\n_shown"
        self.page.evaluate(
            f"source => {CELLS}[{self.cell}].model.sharedModel.setSource(source)", source
        )
        self.lab.run_cell(self.cell)
        self.lab.wait_idle()
        if expression != "None":
            self.wait_shown()

    def ask(self, expression: str) -> str:
        """What an expression is in the kernel, as print writes it."""
        self.run_code(f"print({expression})")
        self.lab.wait_idle()
        return self.lab.text(self.cell + 1).strip()

    # --- Pictures of it ---

    def shoot(self, name: str) -> Path:
        """A PNG of the panel."""
        path = self.shots / f"{name}.png"
        panel = self.page.locator(".wbp, .wbl").first
        panel.scroll_into_view_if_needed()
        panel.evaluate(STANDS_STILL)
        panel.screenshot(path=path)
        return path


def until(is_so: Callable[[], bool], lab: JupyterPage, timeout_s: float = PATIENCE_S) -> None:
    """Wait until Python sees that it is so, looking again with every frame of the page."""
    for _ in range(int(timeout_s * 20)):
        if is_so():
            return
        lab.page.wait_for_timeout(50)
    raise AssertionError(f"it has not come about within {timeout_s} s")
