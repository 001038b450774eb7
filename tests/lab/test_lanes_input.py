"""Mouse and keyboard in the lanes module, in Chromium."""

from __future__ import annotations

import pytest

from tests.browser import CHROMIUM, MISSING
from tests.lab import synthetic as s
from tests.lab.lanes_actions import Open, box_of, focus, keys, middle_of
from tests.lab.page import LANES, LanesPage

pytestmark = [pytest.mark.check, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


def press(page: LanesPage, x: float, y: float, *, to: tuple[float, float] | None = None) -> None:
    """A click on the plot, or a drag from there to another point."""
    box = box_of(page, ".wbl-plot")
    left, top = box["x"], box["y"]
    mouse = page.browser.mouse
    mouse("mousePressed", left + x, top + y, button="left", clickCount=1)
    if to:
        for share in (0.3, 0.7, 1):
            at = [start + (end - start) * share for start, end in zip((x, y), to, strict=True)]
            mouse("mouseMoved", left + at[0], top + at[1], button="left", buttons=1)
    end = to or (x, y)
    mouse("mouseReleased", left + end[0], top + end[1], button="left", clickCount=1)
    page.settle()


def test_a_click_opens_the_facts_and_closing_returns(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("paused", 224_000))
    press(page, *middle_of(page, 11, 100_000))
    assert page.sent("open") == [{"kind": "open", "lane": 11}]
    page.tell(s.facts(11))
    page.settle()
    drawer = page.browser.eval("document.querySelector('.wbl-drawer').innerText")
    assert "Buyer 12" in drawer
    assert page.browser.eval("document.querySelectorAll('.wbl-facts li').length") == 5
    struck = "getComputedStyle(document.querySelector('.wbl-undone > span')).textDecorationLine"
    assert page.browser.eval(struck) == "line-through"
    assert page.browser.eval("document.activeElement.innerText") == "Close"
    page.browser.key("Enter")
    page.settle()
    assert page.sent("close") == [{"kind": "close"}]
    assert page.browser.eval(f"document.activeElement === {LANES}")
    assert page.browser.eval("document.querySelector('.wbl-drawer').hidden")


def test_text_from_outside_stays_text(lanes: Open) -> None:
    """Names, notes, facts and money are texts that anybody may have chosen."""
    page, bad = lanes(), "<img src=x onerror=alert(1)>"
    page.tell(s.setup(title=bad, subtitle=bad))
    lane = s.Lane("1", bad, 0, s.stages_of("a4"), "rejected", bad)
    page.tell(*s.lanes_message([lane], 9_000))
    page.tell(s.state("done", 9_000, money=[[bad, bad]]))
    page.tell({**s.facts(0), "title": bad})
    page.settle()
    press(page, *middle_of(page, 0, 2_000))
    page.tell({**s.facts(0), "title": bad})
    page.settle()
    assert bad in page.browser.text()
    assert page.browser.eval("document.querySelectorAll('img').length") == 0


def test_hovering_names_a_lane(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    x, y = middle_of(page, 25, 200_000)
    box = box_of(page, ".wbl-plot")
    page.browser.mouse("mouseMoved", box["x"] + x, box["y"] + y)
    page.settle()
    tip = page.browser.eval("document.querySelector('.wbl-tip').innerText")
    assert tip.startswith("Buyer 26 0x")
    assert "swapped for 4.0 s so far, in all 35.0 s" in tip
    assert "Facilitator away for 19.0 s of it." in tip


def test_keys_choose_open_and_close(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("paused", 224_000))
    focus(page)
    keys(page, "ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp")
    chosen = page.browser.eval(
        f"document.getElementById({LANES}.getAttribute('aria-activedescendant')).innerText"
    )
    assert chosen.startswith("Buyer 2, 147.8 YPS, executed")
    keys(page, "Enter")
    assert page.sent("open") == [{"kind": "open", "lane": 1}]
    keys(page, "Escape")
    assert page.sent("close") == [{"kind": "close"}]
    keys(page, " ", "s", "f")
    page.tell(s.state("live", 224_000))
    focus(page)
    keys(page, " ")
    names = [message["name"] for message in page.sent("command")]
    assert names == ["resume", "step", "fault", "pause"]
    keys(page, "?")
    assert "Keys, with focus inside" in page.browser.text()
    keys(page, "Escape", "/")
    assert page.browser.eval("document.activeElement.getAttribute('aria-label')") == "Filter"


def test_keys_outside_are_left_alone(lanes: Open) -> None:
    """Without focus inside, nothing is taken from the notebook; neither is a key with Ctrl."""
    page = lanes()
    page.tell_all(s.snapshot("paused", 224_000))
    page.browser.eval("document.activeElement.blur()")
    page.browser.eval(
        "window.seen = [];addEventListener('keydown', (e) => seen.push(e.key + e.defaultPrevented))"
    )
    keys(page, "s")
    assert page.sent("command") == []
    focus(page)
    keys(page, "s", modifiers=2)
    keys(page, "s")
    assert page.browser.eval("seen") == ["sfalse", "sfalse"]
    assert len(page.sent("command")) == 1


def test_pan_and_zoom_change_the_picture_and_fit_returns(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    whole = page.pixels()
    x, y = middle_of(page, 20, 180_000)
    wheel = {"deltaX": 0, "deltaY": -150}
    box = box_of(page, ".wbl-plot")
    page.browser.mouse("mouseWheel", box["x"] + x, box["y"] + y, **wheel)
    page.settle()
    assert page.browser.eval("view.look().scale.fitted"), "the plain wheel is the notebook's"
    page.browser.mouse("mouseWheel", box["x"] + x, box["y"] + y, modifiers=2, **wheel)
    page.browser.wait_for("!view.look().scale.fitted")
    page.settle()
    near = page.pixels()
    press(page, x, y, to=(x - 120, y))
    panned = page.pixels()
    assert len({whole, near, panned}) == 3
    assert abs(middle_of(page, 20, 180_000)[0] - (x - 120)) < 1.5, "what was taken moved along"
    assert page.sent("open") == [], "a drag is no click"
    focus(page)
    keys(page, "0", "Escape")
    page.browser.mouse("mouseMoved", 5, 5)
    page.settle()
    assert page.browser.eval("view.look().scale.fitted")
    assert page.pixels() == whole


def test_shift_drag_selects_and_adds_a_column(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    x, y = middle_of(page, 34, 0)
    box = box_of(page, ".wbl-plot")
    for kind, at in (
        ("mousePressed", 0),
        ("mouseMoved", 60),
        ("mouseMoved", 90),
        ("mouseReleased", 90),
    ):
        buttons = {"button": "left", "buttons": 1, "clickCount": 1, "modifiers": 8}
        page.browser.mouse(kind, box["x"] + x + 1 + at, box["y"] + y, **buttons)
    page.settle()
    chosen = "[...document.querySelectorAll('.wbl-outcome em')].map((e) => Number(e.innerText))"
    assert sum(page.browser.eval(chosen)) == 10, "the buyers of the first 40 seconds"
    keys(page, "Escape")
    assert page.browser.eval(chosen) == []


def test_scrubbing_shows_everything_as_of_that_time(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    end, counts = page.pixels(), page.counts()
    assert counts["executed"] == 24
    page.browser.eval(
        "(() => { const e = document.querySelector('.wbl-scrub'); e.value = 224000;"
        " e.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    page.settle()
    assert page.attribute("data-time-ms") == "224000"
    scrubbed = page.counts()
    assert (scrubbed["executed"], scrubbed["open"], scrubbed["not_come"]) == (15, 6, 5)
    assert sum(scrubbed.values()) == 35
    assert page.browser.eval("document.querySelector('[data-figure=n]').innerText") == "15"
    assert page.pixels() != end
    focus(page)
    keys(page, "ArrowLeft")
    assert page.attribute("data-time-ms") == "220000"
    keys(page, "ArrowRight", "ArrowRight", modifiers=8)
    assert page.attribute("data-time-ms") == "300000"
    keys(page, "Escape")
    assert page.attribute("data-time-ms") == "372000"
    assert page.counts() == counts
    assert page.pixels() == end


def test_scrubbing_shows_what_a_live_run_showed(lanes: Open) -> None:
    """The same figures, whether the run stood there or is looked at afterwards."""
    page = lanes()
    page.tell_all(s.snapshot("paused", 180_000))
    live = page.counts()
    page.tell_all(s.snapshot("done", 372_000))
    focus(page)
    page.browser.eval(
        "(() => { const e = document.querySelector('.wbl-scrub'); e.value = 180000;"
        " e.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    page.settle()
    assert page.counts() == live
