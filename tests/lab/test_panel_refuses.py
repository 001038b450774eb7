"""What cannot be done is said in place, in a real JupyterLab.

Bad input, sources that are broken, a node that is lost. After each of it the kernel goes on.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.jupyter import CHROMIUM, MISSING, code_notebook, jupyter_lab
from tests.lab.panel_page import SETTLEMENTS, PanelPage, until

pytestmark = [
    pytest.mark.check,
    pytest.mark.skipif(CHROMIUM is None, reason=MISSING),
]
MAKE = """
from pathlib import Path
from workbench import Run, panel, tracker

Path("wrong.yaml").write_text("about: No buyers.\\nduration: soon\\n")
damaged = Path("damaged")
damaged.mkdir(exist_ok=True)
for name in ("manifest.json", "events.jsonl"):
    (damaged / name).write_text("{")
"""


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PanelPage]:
    """A notebook whose first cell makes files; its second shows what a test puts there."""
    folder = tmp_path_factory.mktemp("refuses")
    notebook = code_notebook(MAKE, "")
    with jupyter_lab(folder, {"refuses.ipynb": notebook}, width=1620, height=1180) as lab:
        lab.open("refuses.ipynb")
        lab.command("application:toggle-left-area")
        lab.run_cell(0)
        lab.wait_idle()
        page = PanelPage(lab, 1, folder / "shots")
        page.scratch()
        yield page
        page.show("None")
        until(lambda: not lab.node_processes(), lab)
        assert lab.problems() == []


def goes_on(panel: PanelPage) -> None:
    """The kernel answers as if nothing had been."""
    assert panel.ask("6 * 7") == "42"


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        ("no-such", ("there is no scenario", "no-such")),
        ("wrong.yaml", ("wrong.yaml",)),
        ("nowhere/none.yaml", ("none.yaml",)),
    ],
)
def test_a_scenario_that_cannot_be_read(
    panel: PanelPage, scenario: str, words: tuple[str, ...]
) -> None:
    """It is said in the panel, and another one can be chosen there."""
    panel.show(f'panel("{scenario}")')
    panel.wait_alert(*words)
    assert panel.wait_state("empty").lanes == 0
    panel.wait_disabled("Run")
    panel.shoot("light-no-scenario")
    panel.choose("Scenario", "happy-path")
    panel.wait_no_alert()
    panel.wait_enabled("Run")
    panel.choose("Scenario", scenario)
    panel.wait_alert(*words)
    panel.wait_disabled("Run")
    goes_on(panel)


@pytest.mark.parametrize(
    ("label", "wrong", "words", "right"),
    [
        ("Time to fund", "99999999", ("Time to fund",), "40"),
        ("Time to fund", "-1", ("Time to fund",), "40 s"),
        ("Finality", "two", ("Finality",), "2"),
        ("Rate band", "", ("Rate band",), "1"),
        ("Seed", "x", ("Seed is 'x'",), "7"),
        ("Seed", "-1", ("Seed is '-1'",), "7"),
    ],
)
def test_a_setting_that_cannot_be_used(
    panel: PanelPage, label: str, wrong: str, words: tuple[str, ...], right: str
) -> None:
    """It is said below its field, and nothing can be run until it is right."""
    panel.show('panel("happy-path")')
    panel.fill(label, wrong)
    panel.wait_alert(*words)
    panel.wait_disabled("Run")
    panel.shoot("light-wrong-setting")
    panel.fill(label, right)
    panel.wait_no_alert()
    panel.wait_enabled("Run")
    goes_on(panel)


def test_a_pace_that_would_never_end(panel: PanelPage) -> None:
    """Before a run, and while it goes on, which then keeps its pace."""
    panel.show('panel("happy-path")')
    for wrong in ("0", "-3", "fast"):
        panel.fill("Pace", wrong)
        panel.wait_alert("Pace is", wrong)
    panel.press("Run")
    panel.wait_alert("Pace is", "fast")
    assert panel.ask("_shown.session") == "None"
    panel.fill("Pace", "20")
    panel.wait_no_alert()
    panel.press("Run")
    panel.wait_state("live")
    panel.fill("Pace", "0")
    panel.wait_alert("Pace is '0'")
    assert panel.ask("_shown.session.pace, _shown.session.state") == "20.0 running"
    panel.press("Stop")
    panel.wait_state("stopped")


def test_an_order_that_cannot_be_carried_out(panel: PanelPage) -> None:
    """A parameter out of bounds, a moment that is none, and an order after the end."""
    panel.show('panel("happy-path")')
    panel.press("Run")
    panel.wait_state("live")
    for label, wrong, words, right in (
        ("Away for", "999999", ("crash.facilitator", "out of bounds"), "30"),
        ("Away for", "long", ("crash.facilitator", "long"), "30"),
        ("When", "later", ("When is 'later'",), "now"),
        ("When", "9:99:99", ("When is '9:99:99'",), "now"),
        ("When", "99999", ("When is '99999'", "happen until 10:00 min"), "now"),
    ):
        panel.fill(label, wrong)
        panel.press("Order")
        panel.wait_alert(*words)
        panel.fill(label, right)
        # Before the kernel has confirmed one value, the widget takes no other.
        assert panel.ask("_shown.session.orders") == "()"
    panel.fill("Pace", "max")
    panel.wait_state("done", timeout_s=120)
    panel.wait_disabled("Order")
    panel.page.locator(SETTLEMENTS).press("f")
    panel.wait_alert("This run is over")
    assert panel.ask("_shown.session.orders") == "()"


def test_a_tracker_of_what_does_not_answer(panel: PanelPage) -> None:
    panel.show('tracker("http://127.0.0.1:9")')
    panel.wait_state("broken")
    assert "127.0.0.1:9" in panel.broken()
    goes_on(panel)


def test_a_tracker_of_a_damaged_folder(panel: PanelPage) -> None:
    panel.show('tracker("damaged")')
    panel.wait_state("broken")
    assert ".json" in panel.broken()
    goes_on(panel)


def test_a_node_that_is_lost_in_mid_run(panel: PanelPage) -> None:
    """It is said, with what one can do: open what was kept, or play it again."""
    lab = panel.lab
    panel.show('panel("happy-path")')
    panel.press("Run")
    panel.wait_state("live")
    panel.wait_time(60_000)
    for node in lab.node_processes():
        node.kill()
    panel.wait_state("broken")
    assert "node" in panel.broken()
    panel.shoot("light-broken")
    panel.lab.button("Open what was kept").click()
    panel.wait_state("stopped")
    assert panel.ask("len(_shown.run.events) > 50, _shown.run.finished") == "True False"
    panel.press("Run")
    panel.wait_state("live")
    for node in lab.node_processes():
        node.kill()
    panel.wait_state("broken")
    panel.lab.button("Play again").click()
    panel.wait_state("live")
    panel.fill("Pace", "max")
    panel.wait_state("done", timeout_s=120)
    assert panel.ask("_shown.run.finished, _shown.run.outcomes") == "True {'executed': 20}"
