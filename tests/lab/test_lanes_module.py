"""The settlement lanes in a real browser, over a fake of anywidget's model."""

from __future__ import annotations

import pytest

from tests.browser import CHROMIUM, MISSING
from tests.lab import synthetic as s
from tests.lab.lanes_actions import Open, colours_at, middle_of
from workbench.core.lifecycle import PALETTE

pytestmark = [pytest.mark.check, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


def test_it_exists_from_the_start_and_says_hello(lanes: Open) -> None:
    """Before the first message there is one element, without lanes, in the state "empty"."""
    page = lanes()
    attributes = [page.attribute(n) for n in ("data-lanes", "data-time-ms", "data-state")]
    assert attributes == ["0", "0", "empty"]
    assert (
        page.browser.eval("document.querySelectorAll('[aria-label=\"Settlements\"]').length") == 1
    )
    assert page.sent("hello") == [{"kind": "hello"}]
    assert page.attribute("tabindex") == "0"
    assert "No run yet" in page.browser.text()


def test_attributes_follow_what_is_told(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    attributes = [page.attribute(n) for n in ("data-lanes", "data-time-ms", "data-state")]
    assert attributes == ["35", "224000", "live"]
    page.tell(s.state("paused", 226_500.4))
    assert page.attribute("data-state") == "paused"
    assert page.attribute("data-time-ms") == "226500"


def test_no_button_has_a_name_of_the_controls_beside_it(lanes: Open) -> None:
    """Run, Pause, Step and their like are the host's, as long as it gives no commands."""
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    names = page.browser.eval(
        "[...document.querySelectorAll('.wbl button')].filter((e) => e.offsetParent)"
        ".map((e) => (e.getAttribute('aria-label') || e.innerText).trim())"
    )
    assert len(names) >= 6
    assert not {"Run", "Pause", "Resume", "Step", "Stop", "Order"} & set(names)


@pytest.mark.parametrize("dark", [False, True])
def test_a_bar_has_the_colour_of_its_stage(lanes: Open, dark: bool) -> None:
    """Lane 22 stands in `funded` at 3:00; nothing is there before the data."""
    page = lanes(dark=dark)
    page.tell(s.setup())
    page.settle()
    probe = (580.0, 400.0)
    assert colours_at(page, *probe) == ["", "", ""]
    page.tell_all(s.snapshot("done", 372_000))
    for lane, at, stage in (
        (21, 180_000, "funded"),
        (18, 180_000, "swapped"),
        (23, 180_000, "authorized"),
    ):
        found = colours_at(page, *middle_of(page, lane, at))
        assert PALETTE[stage][dark] in found, stage
    assert colours_at(page, *middle_of(page, 0, 180_000))[1:] != [PALETTE["funded"][dark]] * 2


def test_an_open_lane_grows_on_its_own_canvas(lanes: Open) -> None:
    """Of two states in a row, the still canvas keeps its picture, the growing one gets longer."""
    page = lanes()
    page.tell_all(s.snapshot("live", 180_000))
    x, y = middle_of(page, 21, 181_500)
    assert PALETTE["funded"][0] not in colours_at(page, x, y)
    page.tell(s.state("live", 184_000))
    page.settle()
    assert colours_at(page, x, y)[2] == PALETTE["funded"][0]


def test_outcomes_add_up_to_all_buyers(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    assert page.counts() == {
        "executed": 15,
        "refunded": 4,
        "rejected": 1,
        "gave_up": 2,
        "asked_only": 2,
        "open": 6,
        "not_come": 5,
    }
    text = page.browser.text()
    assert "of 35 buyers" in text
    assert "p99 is not shown below n = 100." in text
    assert "5, 7 blocks" in text
