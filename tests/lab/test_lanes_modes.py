"""Modes, filters and states of the lanes module, in Chromium."""

from __future__ import annotations

import pytest

from tests.browser import CHROMIUM, MISSING
from tests.lab import synthetic as s
from tests.lab.lanes_actions import Open, colours_at, focus, keys, middle_of
from tests.lab.page import LANES
from workbench.core.lifecycle import PALETTE

pytestmark = [pytest.mark.check, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


def test_three_modes(lanes: Open) -> None:
    """Each has a picture of its own; "Order" and "From request" begin all lanes at one edge."""
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    pictures = {page.pixels()}
    focus(page)
    keys(page, "o")
    pictures.add(page.pixels())
    edge = page.browser.eval("view.look().scale.x(0.5)")
    for lane, stage in ((0, "authorized"), (6, "requested"), (31, "created")):
        assert PALETTE[stage][0] in colours_at(page, edge, middle_of(page, lane, 0)[1])
    keys(page, "r")
    pictures.add(page.pixels())
    row = middle_of(page, 21, 0)[1]
    for at, stage in ((1_000, "authorized"), (30_000, "funded")):
        x = page.browser.eval(f"view.look().scale.x({at})")
        assert PALETTE[stage][0] in colours_at(page, x, row)
    keys(page, "ArrowLeft")
    assert page.attribute("data-time-ms") == "368000", "scrubbed is in every mode"
    assert not page.browser.eval("document.querySelector('.wbl-scrub').hidden")
    keys(page, "Escape", "t")
    pictures.add(page.pixels())
    assert len(pictures) == 3
    page.browser.click("[data-mode=request]")
    checked = "document.querySelector('[data-mode][aria-checked=true]').dataset.mode"
    assert page.browser.eval(checked) == "request"


def test_filter_and_sort(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))

    def set_select(name: str, value: str) -> list[int]:
        page.browser.eval(
            f"(() => {{ const e = document.querySelector('[aria-label={name}]');"
            f" e.value = '{value}';"
            " e.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )
        page.settle()
        rows: list[int] = page.browser.eval("view.look().rows")
        return rows

    refunded = s.OUTCOME_AT["refunded"]
    assert set_select("Filter", str(refunded)) == [6, 7, 16, 22, 32, 34]
    assert set_select("Sort", "duration")[0] == 22
    assert set_select("Filter", "all")[:3] == [18, 20, 21], "the slowest first"


def test_payouts_have_a_filter_and_are_no_buyers(lanes: Open) -> None:
    """A lane that becomes a payout leaves the outcomes of buyers, and has its own name."""
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000, buyers=0))
    names = [[0, "1", "5 CRD", "", "", 1]]
    page.tell({"kind": "lanes", "reset": False, "names": names, "lanes": 35})
    page.settle()
    assert sum(page.counts().values()) == 34
    page.browser.eval(
        "(() => { const e = document.querySelector('[aria-label=Filter]'); e.value = 'payouts';"
        " e.dispatchEvent(new Event('change', { bubbles: true })); })()"
    )
    page.settle()
    assert page.browser.eval("view.look().rows") == [0]
    page.browser.wait_for("document.querySelectorAll('[role=option]').length == 1")
    assert page.browser.eval("document.querySelector('[role=option]').innerText") == (
        "Payout 1, 5 CRD, executed, 29.0 s"
    )


def test_another_run_is_shown_from_its_beginning(lanes: Open) -> None:
    """A reset forgets the scrubbed time, the chosen lane and the zoom of the run before."""
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    focus(page)
    keys(page, "ArrowLeft", "ArrowDown", "+")
    assert page.attribute("data-time-ms") == "368000"
    page.tell_all(s.snapshot("live", 60_000))
    assert page.attribute("data-time-ms") == "60000"
    assert page.browser.eval("view.look().scale.fitted")
    assert page.browser.eval(f"{LANES}.hasAttribute('aria-activedescendant')") is False
    assert page.counts()["not_come"] == 24


@pytest.mark.parametrize(
    ("state", "commands", "texts"),
    [
        ("empty", ["run"], ["No run yet", "Run plays 35 purchases", "Run"]),
        ("loading", ["stop"], ["Booting the chain", "6 of 9 deployed", "Stop"]),
        ("broken", ["again", "kept"], ["was lost at 3:44", "Play again", "Open what was kept"]),
    ],
)
def test_states_say_what_is_going_on(
    lanes: Open, state: str, commands: list[str], texts: list[str]
) -> None:
    """With a button for each command that the host can carry out, and none without."""
    page = lanes()
    if state == "broken":
        page.tell_all(s.snapshot("live", 224_000))
    empty = {"title": "No run yet", "text": "Run plays 35 purchases in about 30 s."}
    error = {"title": "The node was lost at 3:44 min.", "text": "What ran is kept."}
    told = s.state(
        state,
        224_000 if state == "broken" else 0,
        empty=empty if state == "empty" else None,
        error=error if state == "broken" else None,
        progress=0.66 if state == "loading" else None,
        progress_text="Contracts: 6 of 9 deployed." if state == "loading" else "",
    )
    page.tell(s.setup(commands=commands))
    page.tell(told)
    page.settle()
    assert page.attribute("data-state") == state
    for text in texts:
        assert text in page.browser.text()
    page.browser.click(".wbl-buttons button")
    assert page.sent("command") == [{"kind": "command", "name": commands[0]}]
    page.tell(s.setup(commands=[]))
    page.settle()
    assert page.browser.eval("document.querySelectorAll('.wbl-buttons button').length") == 0


def test_a_broken_run_shows_where_in_alarm(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    page.tell(s.state("broken", 224_000, error={"title": "Lost.", "text": ""}))
    page.settle()
    x, _ = middle_of(page, 0, 224_000)
    assert "#931a0d" in colours_at(page, x - 0.4, 300)
