"""A saved or exported notebook shows the last picture of its lanes, where no kernel is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.lab.jupyter import CHROMIUM, MISSING, NOTEBOOK, JupyterPage, code_notebook, jupyter_lab
from tests.lab.panel_page import PanelPage, until

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]
NAME = "story.ipynb"
PANEL = 'from workbench import panel\n\ntour = panel("happy-path")\ntour'
NOTE = """
taken, take = [], tour.tracker._take_picture

def note(png):
    taken.append((tour.tracker.state, png))
    take(png)

tour.tracker._take_picture = note
"""
"""From here on the kernel knows of each picture how the run stood."""
LAST = "__import__('base64').b64encode(taken[-1][1]).decode()"
PICTURES = ".jp-OutputArea-output img"


def saved(lab: JupyterPage) -> Any:
    """The notebook as its file holds it."""
    read: Any = nbformat.read
    return read(lab.server.root / "notebooks" / NAME, 4)


def picture_of(notebook: Any) -> str:
    """The only PNG (base64) in a notebook."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    found = [
        output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})
    ]
    assert len(found) == 1
    return "".join(found[0]).replace("\n", "")


def test_a_saved_notebook_shows_the_last_picture(tmp_path: Path) -> None:
    notebooks = {NAME: code_notebook(PANEL)}
    with jupyter_lab(tmp_path, notebooks, width=1620, height=1180) as lab:
        lab.open(NAME)
        lab.run_all()
        lab.wait_idle()
        panel = PanelPage(lab, 0, tmp_path / "shots")
        panel.wait_shown()
        panel.scratch()
        panel.run_code(NOTE)
        lab.wait_idle()
        panel.press("Run")
        panel.wait_state("live")
        lab.save()
        lab.reload()
        panel.wait_state("live")
        panel.fill("Pace", "max")
        panel.wait_state("done")
        until(lambda: panel.ask("taken[-1][0]") == "done", lab)
        assert not lab.page.locator(PICTURES).is_visible(), "only the live panel is seen"
        drawn = panel.ask(LAST)
        panel.run_code("")
        lab.save()
        assert picture_of(saved(lab)) == drawn
        shown_without_a_kernel(panel, drawn)
        shown_in_html(panel, drawn)


def shown_without_a_kernel(panel: PanelPage, drawn: str) -> None:
    """The kernel has gone, and its widgets with it: the picture, and no line about a widget."""
    lab = panel.lab
    lab.page.evaluate(f"{NOTEBOOK}.sessionContext.shutdown()")
    lab.page.goto("about:blank")
    lab.open(NAME)
    picture = lab.page.locator(PICTURES)
    picture.wait_for()
    assert picture.get_attribute("src") == f"data:image/png;base64,{drawn}"
    line = lab.page.get_by_text("Error displaying widget")
    line.wait_for(state="attached")
    assert not line.is_visible()
    assert panel.count == 0
    lab.screenshot(panel.shots / "saved-notebook.png")


def shown_in_html(panel: PanelPage, drawn: str) -> None:
    """The exported page has the picture, without any request."""
    path = panel.lab.server.root / "notebooks" / NAME
    subprocess.run(
        [sys.executable, "-m", "jupyter", "nbconvert", "--to", "html", str(path)],
        check=True,
        capture_output=True,
    )
    browser = panel.page.context.browser
    assert browser
    context = browser.new_context(offline=True, viewport={"width": 1300, "height": 1100})
    page = context.new_page()
    page.goto(path.with_suffix(".html").as_uri(), wait_until="domcontentloaded")
    picture = page.locator(PICTURES)
    assert picture.get_attribute("src") == f"data:image/png;base64,{drawn}"
    page.wait_for_function("() => document.querySelector('.jp-OutputArea-output img').complete")
    box = picture.bounding_box()
    assert box
    assert min(box["width"], box["height"]) > 400
    assert page.locator(".jp-OutputArea .jp-RenderedText").count() == 0, "the picture is all"
    page.screenshot(path=panel.shots / "exported-html.png")
    context.close()
