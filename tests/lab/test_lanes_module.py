"""The settlement lanes in a real browser, over a fake of anywidget's model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.browser import CHROMIUM, MISSING, Browser
from tests.lab import synthetic as s
from tests.lab.page import LANES, LanesPage
from workbench.core.lifecycle import PALETTE
from workbench.lab.module import lanes_module, widget_module

pytestmark = [pytest.mark.check, pytest.mark.skipif(CHROMIUM is None, reason=MISSING)]

WIDTH, HEIGHT = 1144, 882
Open = Callable[..., LanesPage]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests here."""
    with Browser(WIDTH, HEIGHT) as browser:
        yield browser


@pytest.fixture
def lanes(chromium: Browser) -> Iterator[Open]:
    """Opens the page. Whatever a test does, the page never throws, complains or goes outside."""
    opened: list[LanesPage] = []

    def page(*, dark: bool = False, width: int = WIDTH, **more: object) -> LanesPage:
        chromium.resize(width, HEIGHT)
        chromium.theme(dark)
        chromium.requests.clear()
        chromium.errors.clear()
        chromium.console.clear()
        opened.append(LanesPage(chromium, **more))  # type: ignore[arg-type]
        return opened[-1]

    yield page
    chromium.call("Emulation.setEmulatedMedia", features=[])
    assert chromium.errors == []
    assert chromium.console == []
    outside = [url for url in chromium.requests if not re.match(r"file:|data:|about:", url)]
    assert outside == []
    for each in opened:
        each.close()


def middle_of(page: LanesPage, lane: int, at_ms: float) -> tuple[float, float]:
    """A point of the plot: the middle of a lane's row, at a time of the fitted view."""
    found = page.browser.eval(
        f"(() => {{ const {{ rows, scale }} = view.look();"
        f" return [scale.x({at_ms}), scale.y(rows.indexOf({lane}))]; }})()"
    )
    return found[0], found[1]


def colours_at(page: LanesPage, x: float, y: float) -> list[str]:
    """What the three canvases hold there, as #rrggbb; "" where nothing is drawn."""
    layers = page.browser.eval(f"pixel({x}, {y})")
    return [f"#{r:02x}{g:02x}{b:02x}" if a == 255 else "" for r, g, b, a in layers]


def box_of(page: LanesPage, selector: str) -> dict[str, float]:
    found: dict[str, float] = page.browser.eval(
        f"document.querySelector('{selector}').getBoundingClientRect().toJSON()"
    )
    return found


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


def keys(page: LanesPage, *names: str, **more: object) -> None:
    for name in names:
        page.browser.key(name, **more)
    page.settle()


def focus(page: LanesPage) -> None:
    page.browser.eval(f"{LANES}.focus()")


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
    """A lane that is told to be a payout leaves the outcomes of buyers, and has its own name."""
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
    """However often something is told, and about one a second where motion is to be reduced."""
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
