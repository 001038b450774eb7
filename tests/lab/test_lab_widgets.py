"""Widgets in a real JupyterLab: what a click means to Python, while the kernel is idle and busy.

The panel stands on this: JupyterLab runs the messages of widgets on a subshell of the kernel, so
that they arrive while a cell runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.jupyter import CHROMIUM, MISSING, JupyterPage, code_notebook, jupyter_lab

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]

COUNTER = '''
import anywidget, threading, traitlets
from workbench.lab.comms import answer_while_busy

class Counter(anywidget.AnyWidget):
    """Counts in Python, shows it in the page."""

    _esm = """
    export default { render({ model, el }) {
        const button = document.createElement("button");
        const shown = document.createElement("output");
        button.textContent = "Count";
        button.addEventListener("click", () => model.send({ clicked: true }));
        const draw = () => { shown.textContent = `counted ${model.get("count")}`; };
        model.on("change:count", draw);
        draw();
        el.append(button, shown);
    } };
    """
    count = traitlets.Int(0).tag(sync=True)

    def __init__(self):
        super().__init__()
        self.clicked = threading.Event()
        self.on_msg(self._answer)

    def _answer(self, widget, content, buffers):
        self.count += 1
        self.clicked.set()

counter = Counter()
answer_while_busy(counter)
counter
'''
BUTTON = """
import ipywidgets, threading

pressed = threading.Event()
button = ipywidgets.Button(description="Press")
label = ipywidgets.Label("not pressed")

def press(_):
    label.value = "pressed"
    pressed.set()

button.on_click(press)
answer_while_busy(button)
ipywidgets.VBox([button, label])
"""
WAIT = """
print("waiting", flush=True)
counter.clicked.clear(); pressed.clear()
print(counter.clicked.wait(60), pressed.wait(60), counter.count)
"""
"""A cell that ends only when both buttons are clicked while it runs."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterPage]:
    """One notebook with both widgets, shown; the tests click in turn."""
    folder = tmp_path_factory.mktemp("widgets")
    with jupyter_lab(folder, {"widgets.ipynb": code_notebook(COUNTER, BUTTON, WAIT)}) as page:
        page.open("widgets.ipynb")
        for number in (0, 1):
            page.run_cell(number)
            page.wait_idle()
        yield page


def shown(lab: JupyterPage, text: str) -> None:
    """Wait until an output shows this text."""
    lab.page.locator(".jp-OutputArea-output").get_by_text(text, exact=True).wait_for()


def test_a_click_reaches_python_while_the_kernel_is_idle(lab: JupyterPage) -> None:
    shown(lab, "counted 0")
    lab.button("Count").click()
    shown(lab, "counted 1")
    lab.button("Press").click()
    shown(lab, "pressed")


def test_a_click_reaches_python_while_a_cell_runs(lab: JupyterPage) -> None:
    lab.run_cell(2)
    shown(lab, "waiting")
    lab.wait_busy()
    before = lab.page.locator("output").inner_text()
    number = int(before.removeprefix("counted "))
    lab.button("Count").click()
    shown(lab, f"counted {number + 1}")
    assert lab.text(2) == "waiting\n", "the cell still runs"
    lab.button("Press").click()
    lab.wait_idle()
    assert lab.text(2) == f"waiting\nTrue True {number + 1}\n"


def test_both_widget_libraries_come_from_this_server(lab: JupyterPage) -> None:
    """From the folders of their own extensions of JupyterLab, and from no CDN."""
    for name in ("@jupyter-widgets/jupyterlab-manager", "anywidget"):
        assert [url for url in lab.requests if f"/lab/extensions/{name}/" in url], name
    assert lab.problems() == []


def test_a_page_that_is_loaded_anew_shows_the_widgets_of_the_running_kernel(
    lab: JupyterPage,
) -> None:
    lab.save()
    lab.reload()
    lab.wait_idle()
    before = lab.page.locator("output").inner_text()
    lab.button("Count").click()
    shown(lab, f"counted {int(before.removeprefix('counted ')) + 1}")
