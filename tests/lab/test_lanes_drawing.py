"""How the lanes module draws: theme, redraw rate, scrolling, clean-up, in Chromium."""

from __future__ import annotations

import re

import pytest

from tests.browser import CHROMIUM, MISSING
from tests.lab import synthetic as s
from tests.lab.lanes_actions import Open, box_of, colours_at, middle_of
from tests.lab.page import LANES
from workbench.core.lifecycle import PALETTE
from workbench.lab.module import lanes_module, widget_module

pytestmark = [pytest.mark.check, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]


def test_the_theme_follows_its_surroundings(lanes: Open) -> None:
    """JupyterLab's own word counts before the system's; both are followed when they change."""
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    ground = f"getComputedStyle({LANES}).backgroundColor"
    assert page.browser.eval(ground) == "rgb(255, 255, 255)"
    page.browser.theme(dark=True)
    page.browser.wait_for(f"{ground} === 'rgb(20, 23, 28)'")
    page.settle()
    assert PALETTE["funded"][1] in colours_at(page, *middle_of(page, 21, 180_000))
    page.browser.eval("document.body.dataset.jpThemeLight = 'true'")
    page.browser.wait_for(f"{ground} === 'rgb(255, 255, 255)'")
    page.settle()
    assert PALETTE["funded"][0] in colours_at(page, *middle_of(page, 21, 180_000))
    page.browser.eval("document.body.dataset.jpThemeLight = 'false'")
    page.browser.wait_for(f"{ground} === 'rgb(20, 23, 28)'")


def test_at_most_fifteen_redraws_a_second(lanes: Open) -> None:
    """At most 15 redraws a second, and about one where reduced motion is preferred."""
    page = lanes()
    page.tell_all(s.snapshot("live", 180_000))
    count = (
        "(async () => { const began = performance.now(), before = view.stats().redraws;"
        " const { state } = view.look(); let n = 0;"
        " while (performance.now() - began < 1500) { n += 1;"
        "  model.tell({ ...state, now_ms: state.now_ms + n * 5 }, null);"
        "  await new Promise((done) => setTimeout(done, 5)); }"
        " return [(view.stats().redraws - before), (performance.now() - began) / 1000]; })()"
    )
    redraws, seconds = page.browser.eval(count)
    assert 3 <= redraws <= 15 * seconds + 1
    assert int(page.attribute("data-redraws")) >= redraws
    features = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    page.browser.call("Emulation.setEmulatedMedia", features=features)
    page.settle()
    redraws, seconds = page.browser.eval(count)
    assert redraws <= seconds + 2
    page.tell(s.state("loading", 0))
    page.browser.wait_for("document.querySelector('.wbl-spin')")
    spin = "getComputedStyle(document.querySelector('.wbl-spin')).animationName"
    assert page.browser.eval(spin) == "none"


def test_nothing_is_redrawn_while_nothing_happens(lanes: Open) -> None:
    page = lanes()
    page.tell_all(s.snapshot("done", 372_000))
    before = page.browser.eval("view.stats().redraws")
    page.browser.eval("frames(20)")
    assert page.browser.eval("view.stats().redraws") == before


def test_a_picture_is_sent_when_a_run_ends(lanes: Open) -> None:
    """A PNG of the canvases with their ground; the same comes from `picture()`."""
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    page.tell(s.state("paused", 224_000))
    page.browser.wait_for("model.sent.some((message) => message.kind == 'picture')")
    (sent,) = page.sent("picture")
    assert sent["width"] > 800
    assert sent["height"] > 600
    assert sent["png"].startswith("iVBORw0KGgo")
    assert page.browser.eval("view.picture()").startswith("data:image/png;base64,iVBORw0KGgo")


def test_more_lanes_than_fit_are_scrolled_not_drawn(lanes: Open) -> None:
    """Of 10,000 lanes those in view are drawn and listed; the bar and the keys reach the others."""
    page = lanes()
    told = s.load_lanes(10_000)
    page.tell(s.setup(buyers=10_000, duration_ms=600_000))
    page.tell(*s.lanes_message(told, 700_000))
    page.tell(s.state("done", 700_000))
    page.settle()
    page.browser.wait_for("document.querySelectorAll('[role=option]').length > 10")
    stats = page.browser.eval("view.stats()")
    assert stats["lanes"] == 10_000
    assert 20 < stats["inView"] < 80
    assert page.browser.eval("document.querySelectorAll('[role=option]').length") < 80
    assert sum(page.counts().values()) == 10_000
    top = page.pixels()
    box = box_of(page, ".wbl-scroll")
    at = (box["x"] + 4, box["y"] + 10)
    page.browser.mouse("mousePressed", *at, button="left", clickCount=1)
    page.browser.mouse("mouseMoved", at[0], at[1] + 200, button="left", buttons=1)
    page.browser.mouse("mouseReleased", at[0], at[1] + 200, button="left", clickCount=1)
    page.settle()
    assert page.browser.eval("view.look().scale.inView[0]") > 1_000
    assert page.pixels() != top


def test_clean_up_leaves_nothing(lanes: Open) -> None:
    """No element, no style, no animation frame, no listener that the model keeps."""
    page = lanes()
    page.tell_all(s.snapshot("live", 224_000))
    page.browser.eval(
        "(() => { window.ran = 0; const real = requestAnimationFrame;"
        " window.requestAnimationFrame = (act) => real((at) => { ran += 1; act(at); });"
        " model.tell(view.look().state, null); clean(); })()"
    )
    page.tell(s.state("done", 372_000))
    page.browser.eval("new Promise((done) => setTimeout(done, 300))")
    assert page.browser.eval("document.getElementById('host').childElementCount") == 0
    assert page.browser.eval("document.querySelectorAll('style[data-wbl]').length") == 0
    assert page.browser.eval("ran") == 0
    assert page.sent("picture") == []


@pytest.mark.parametrize("width", [360, 700, 900, 1140])
def test_nothing_overflows(lanes: Open, width: int) -> None:
    page = lanes(width=width)
    page.tell_all(s.snapshot("live", 224_000))
    page.settle()
    assert page.browser.overflow() == 0


def test_the_adapter_tells_and_is_told(lanes: Open) -> None:
    """What anywidget calls: it renders into an element, and its clean-up leaves no listener."""
    page = lanes()
    page.browser.eval("(clean(), window.clean = widget.render({model, el: document.body}))")
    page.tell_all(s.snapshot("live", 224_000))
    assert page.attribute("data-lanes") == "35"
    assert len(page.sent("hello")) == 2
    page.browser.eval("clean()")
    # The listener that the page itself had set is left.
    assert page.browser.eval("model.listeners.get('msg:custom').length") == 1
    assert page.browser.eval("document.querySelectorAll('.wbl').length") == 0


def test_the_adapter_is_a_widget_without_imports() -> None:
    """One plain module: anywidget's default export behind the same text, nothing from elsewhere."""
    text = widget_module()
    assert text.startswith(lanes_module())
    assert "export function mountLanes(" in text
    assert text.count("export default {") == 1
    assert not re.search(r"^\s*import\b|\bimport\(|https?://|@import|url\(", text, re.MULTILINE)
