"""The panel in a real JupyterLab: the tour from its first click to the last, as a user goes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.jupyter import CHROMIUM, MISSING, JupyterPage, jupyter_lab
from tests.lab.panel_page import SETTLEMENTS, PanelPage, until

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]
PANEL = 2
"""The cell of the tour that shows the panel."""
WIDTH, HEIGHT = 1620, 1180
"""So that the panel itself is about 1,400 pixels wide, and is seen as a whole."""
BUSY = """
import threading
paused = threading.Event()
end = tour.session.subscribe(lambda *_: paused.set() if tour.session.state == "paused" else None)
print("busy", flush=True)
print("paused" if paused.wait(60) else "not paused", "while this cell ran")
end()
"""
"""A cell that ends only once the run is paused."""


def test_the_tour_from_the_first_click_to_the_last(tmp_path: Path) -> None:
    with jupyter_lab(tmp_path, width=WIDTH, height=HEIGHT) as lab:
        lab.open("00_tour.ipynb")
        lab.run_all()
        lab.wait_idle()
        panel = PanelPage(lab, PANEL, tmp_path / "shots")
        panel.wait_shown()
        lab.command("application:toggle-left-area")
        panel.scratch()
        assert panel.wait_state("empty").lanes == 0
        panel.shoot("light-empty")
        run_and_order(panel)
        pause_and_step(panel)
        load_anew(panel)
        to_its_end(panel)
        look_back(panel)
        run_the_cell_again(panel)
        stop_and_restart(panel)


def run_and_order(panel: PanelPage) -> None:
    """Lanes grow; a fault that is ordered in mid-run takes effect, and is known to the run."""
    panel.press("Run")
    first = panel.wait_state("live")
    later = panel.wait_time(max(first.time_ms, 60_000))
    assert (later.state, later.lanes) == ("live", 20), "each buyer has a lane from the start"
    panel.press("Order")
    panel.page.locator(".wbp-orders").get_by_text("Kill the facilitator").wait_for()
    assert "'crash.facilitator'" in panel.ask("tour.session.orders")
    panel.wait_time(panel.shown.time_ms + 40_000)
    panel.shoot("light-live")


def pause_and_step(panel: PanelPage) -> None:
    """A pause also takes effect while a cell runs. A step plays one block, to the millisecond."""
    panel.run_code(BUSY)
    panel.lab.wait_busy()
    panel.page.locator(".jp-OutputArea-output").get_by_text("busy", exact=True).wait_for()
    panel.press("Pause")
    still = panel.wait_state("paused", timeout_s=5)
    panel.lab.wait_idle()
    assert panel.lab.text(PANEL + 1) == "busy\npaused while this cell ran\n"
    before = int(panel.ask("tour.session.progress.block"))
    now_ms = panel.ask("tour.session.gate.now_ms")
    assert panel.shown == still
    assert panel.ask("tour.session.gate.now_ms") == now_ms
    panel.shoot("light-paused")
    panel.press("Step")
    panel.wait_block(before + 1)
    assert panel.ask("tour.session.progress.block") == str(before + 1)
    assert panel.ask("tour.session.state") == "paused"
    assert panel.shown.time_ms > still.time_ms
    panel.press("Resume")
    panel.wait_state("live")


def load_anew(panel: PanelPage) -> None:
    """The page is loaded anew while the run goes on, and while it stands: the panel comes back."""
    for state in ("live", "paused"):
        if state == "paused":
            panel.press("Pause")
            panel.wait_state("paused")
        panel.lab.save()
        before = panel.shown
        panel.lab.reload()
        panel.wait_shown()
        after = panel.wait_state(state)
        panel.wait_lanes(before.lanes)
        assert panel.count == 1
        if state == "live":
            panel.wait_time(max(before.time_ms, after.time_ms))
        else:
            assert panel.shown == before
    panel.press("Resume")
    panel.wait_time(after.time_ms)


def to_its_end(panel: PanelPage) -> None:
    """As fast as it can, to the end: all buyers, and the ordered fault among the facts."""
    panel.fill("Pace", "max")
    done = panel.wait_state("done", timeout_s=120)
    assert done.lanes == 20
    panel.button("Run").wait_for()
    panel.button("Play again without it").wait_for()
    assert panel.ask("[order.site for order in tour.run.orders]") == "['crash.facilitator']"
    assert panel.ask("tour.run.finished, tour.run is tour.session.run") == "True True"
    assert "workbench replay runs/happy-path-1-" in panel.page.locator(".wbp-repeat").inner_text()
    panel.shoot("light-done")


def look_back(panel: PanelPage) -> None:
    """The scrubber by mouse and keys; the facts of a lane, and back."""
    page, end_ms = panel.page, panel.shown.time_ms
    scrubber = page.get_by_label("Scrub", exact=True)
    box = scrubber.bounding_box()
    assert box
    page.mouse.click(box["x"] + box["width"] / 3, box["y"] + box["height"] / 2)
    there = panel.shown.time_ms
    assert there == pytest.approx(end_ms / 3, abs=end_ms / 30)
    page.keyboard.press("ArrowRight")
    assert 0 < panel.shown.time_ms - there <= 2_000
    page.keyboard.press("End")
    assert panel.shown.time_ms == end_ms
    lanes = page.get_by_role("listbox", name="Lanes in view")
    until(lambda: lanes.get_by_role("option").count() > 5, panel.lab)
    drawer = page.get_by_role("region", name="Facts of a lane")
    plot = page.locator(".wbl-plot").bounding_box()
    assert plot
    page.mouse.click(plot["x"] + plot["width"] / 2, plot["y"] + 150)
    drawer.locator(".wbl-facts li").nth(3).wait_for()
    panel.shoot("light-facts")
    page.keyboard.press("Escape")
    drawer.wait_for(state="hidden")


def run_the_cell_again(panel: PanelPage) -> None:
    """In mid-run: the first run ends, its node goes, and there is one element for one panel."""
    lab = panel.lab
    panel.fill("Pace", "20")
    panel.press("Run")
    panel.wait_state("live")
    first = [process.pid for process in lab.node_processes()]
    assert len(first) == 1
    lab.run_cell(PANEL)
    lab.wait_idle()
    panel.wait_state("empty")
    until(lambda: not lab.node_processes(), lab)
    assert panel.count == 1
    assert panel.page.locator(".wbp").count() == 1
    panel.press("Run")
    panel.wait_state("live")
    second = [process.pid for process in lab.node_processes()]
    assert len(second) == 1
    assert second != first


def stop_and_restart(panel: PanelPage) -> None:
    """Stop ends the run, a restart of the kernel too; no node is left by either."""
    lab = panel.lab
    panel.press("Stop")
    panel.wait_state("stopped")
    assert panel.ask("tour.run.finished") == "False"
    assert lab.node_processes() == []
    panel.press("Run")
    panel.wait_state("live")
    assert len(lab.node_processes()) == 1
    lab.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    until(lambda: not lab.node_processes(), lab)


def test_the_panel_has_the_colours_of_the_dark_theme(tmp_path: Path) -> None:
    with jupyter_lab(tmp_path, width=WIDTH, height=HEIGHT) as lab:
        lab.open("00_tour.ipynb")
        lab.run_cell(PANEL)
        lab.wait_idle()
        panel = PanelPage(lab, PANEL, tmp_path / "shots")
        panel.wait_shown()
        lab.command("application:toggle-left-area")
        light = colours(lab)
        assert light == {SETTLEMENTS: "rgb(255, 255, 255)", ".wbp-left": "rgb(247, 248, 249)"}
        lab.page.evaluate(
            "jupyterapp.commands.execute('apputils:change-theme', {theme: 'JupyterLab Dark'})"
        )
        lab.wait_for("document.body.dataset.jpThemeLight === 'false'")
        assert colours(lab) == {SETTLEMENTS: "rgb(20, 23, 28)", ".wbp-left": "rgb(25, 29, 35)"}
        panel.shoot("dark-empty")
        panel.press("Run")
        panel.wait_time(60_000)
        panel.press("Order")
        panel.wait_time(110_000)
        panel.shoot("dark-live")
        panel.press("Pause")
        panel.wait_state("paused")
        panel.shoot("dark-paused")
        panel.fill("Pace", "max")
        panel.press("Resume")
        panel.wait_state("done", timeout_s=120)
        panel.button("Play again without it").wait_for()
        panel.shoot("dark-done")
        fits_its_place(panel)


def fits_its_place(panel: PanelPage) -> None:
    """Nothing is wider than its place; in a narrow one the left column stands above the lanes."""
    parts = "[...document.querySelectorAll('.wbp, .wbp-left, .wbl')]"
    legend = (
        "[...new Set([...document.querySelectorAll('.wbl-legend > span')].map(e => e.offsetTop))]"
    )
    top = "document.querySelector('.wbl').getBoundingClientRect().top"
    bottom = "document.querySelector('.wbp-left').getBoundingClientRect().bottom"
    assert panel.page.evaluate(f"{legend}.length") == 1, "the legend is one line"
    for width, is_above in ((WIDTH, False), (1200, True), (900, True)):
        panel.page.set_viewport_size({"width": width, "height": HEIGHT})
        panel.lab.wait_for(f"({bottom} <= {top} + 1) === {str(is_above).lower()}")
        wider = f"{parts}.filter(part => part.scrollWidth > part.clientWidth).length"
        panel.lab.wait_for(f"{wider} === 0")


def colours(lab: JupyterPage) -> dict[str, str]:
    """The background of the lanes and of the left column, as they are drawn."""
    read = "element => getComputedStyle(element).backgroundColor"
    return {name: lab.page.eval_on_selector(name, read) for name in (SETTLEMENTS, ".wbp-left")}
