"""The tracker page as a reader meets it: in a real browser, over a small fake of the tracker."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest

from tests import facts as made
from tests.browser import CHROMIUM, MISSING, Browser
from tests.web.fake_tracker import PAGE, FakeTracker
from workbench.core import facts as ev
from workbench.core.lifecycle import colour

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)

SAYS = "document.querySelector('.item .says')?.innerText || ''"
DONE = (
    "[...document.querySelectorAll('.item:first-child [data-step=done]')].map(e => e.dataset.name)"
)
LIVE = "document.getElementById('connection').dataset.state == 'live'"
HEAPS = 500


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for all tests here; each takes it through `page`."""
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Browser]:
    """An empty tab of 1280 × 800. Whatever a test does, the page never throws or goes outside."""
    chromium.resize(1280, 800)
    chromium.theme(dark=False)
    chromium.goto("about:blank")
    chromium.requests.clear()
    chromium.errors.clear()
    yield chromium
    assert [e for e in chromium.errors if "503" not in e and "404" not in e] == []
    assert [
        url for url in chromium.requests if not re.match(r"http://127\.0\.0\.1:|data:", url)
    ] == []
    chromium.goto("about:blank")


@pytest.fixture
def tracker() -> Iterator[FakeTracker]:
    with FakeTracker() as fake:
        yield fake


def open_page(page: Browser, tracker: FakeTracker) -> None:
    page.goto(tracker.url)
    page.wait_for(LIVE)


@pytest.mark.check
def test_an_empty_tracker_says_what_to_do_next(page: Browser, tracker: FakeTracker) -> None:
    """The command is there, ready to be copied."""
    open_page(page, tracker)
    assert "No settlement yet" in page.text()
    assert "workbench buy 100000000000000000000" in page.text()
    page.click("#empty [data-copy]")
    page.wait_for("!document.getElementById('toast').hidden")


def test_a_settlement_is_followed_live(page: Browser, tracker: FakeTracker) -> None:
    """From the first fact to the last without a reload, each stage shown as it comes."""
    open_page(page, tracker)
    page.eval("window.stayed = true")
    story = made.Story("live", asset_amount=10**20 + 1)
    acts = [story.offered, story.created, story.funded, story.swapped, story.final, story.executed]
    words = ["Authorized", "Created", "Funded", "Swapped", "Final", "Executed, waiting"]
    for act, word in zip(acts, words, strict=True):
        before = len(story.facts)
        act()
        tracker.tell(*story.facts[before:])
        page.wait_for(f"({SAYS}).startsWith('{word}')")
    assert (page.eval(DONE)) == [
        "requested",
        "authorized",
        "created",
        "funded",
        "swapped",
        "final",
        "executed",
    ]
    assert page.eval("document.getElementById('count-executed').textContent") == "1"
    tracker.tell(story.delivered().facts[-1])
    page.wait_for(f"({SAYS}).startsWith('Delivered')")
    assert "100.000000000000000001 YPS for 110 USDC" in page.text(), "amounts are exact"
    assert "8.0 s" in page.eval("document.querySelector('.item .elapsed').innerText")
    assert page.eval("window.stayed")


@pytest.mark.check
def test_a_refund_gives_its_reason_in_plain_words(page: Browser, tracker: FakeTracker) -> None:
    open_page(page, tracker)
    tracker.tell(*made.refunded())
    page.wait_for(f"({SAYS}).startsWith('Refunded: the pool could not give the required USDC')")
    assert page.eval(DONE) == ["requested", "authorized", "created", "funded", "refunded"]
    tracker.tell(*made.rejected("r"))
    page.wait_for(f"({SAYS}).startsWith('Rejected: the tokens were not released for transfer')")
    assert page.eval(DONE) == ["requested", "authorized", "rejected"]


@pytest.mark.check
@pytest.mark.parametrize("dark", [False, True])
def test_states_have_the_colours_and_shapes_of_the_table(
    page: Browser, tracker: FakeTracker, dark: bool
) -> None:
    """Each reached stage of the rail its own; the line of words the outcome's shape and colour."""
    page.theme(dark)
    open_page(page, tracker)
    tracker.tell(*made.happy(), *made.refunded("r"), *made.pending("p"))
    page.wait_for("document.querySelectorAll('.item').length == 3")
    page.wait_for(f"({SAYS}).startsWith('Swapped')")
    bar = (
        "getComputedStyle(document.querySelector('.item:nth-child(3) [data-name=%s]'), '::before')"
    )
    for stage in ("requested", "created", "final", "executed", "delivered"):
        assert rgb(colour(stage, dark=dark)) == page.eval(f"{bar % stage}.backgroundColor")
    line = "getComputedStyle(document.querySelector('.item:nth-child(%d) .says'), '::before')"
    for row, word, mark in ((3, "executed", "●"), (2, "refunded", "◀"), (1, "swapped", "❯")):
        assert mark in page.eval(f"{line % row}.content")
        assert rgb(colour(word, dark=dark)) == page.eval(f"{line % row}.color")


def rgb(hexadecimal: str) -> str:
    """As a browser tells a colour."""
    return f"rgb({', '.join(str(int(hexadecimal[n : n + 2], 16)) for n in (1, 3, 5))})"


@pytest.mark.check
def test_a_reorg_takes_the_settlement_back(page: Browser, tracker: FakeTracker) -> None:
    """What the chain took back is shown as not reached, until it happens again."""
    facts = made.reorged()
    orphaned = next(n for n, f in enumerate(facts) if isinstance(f, ev.BlockOrphaned))
    open_page(page, tracker)
    tracker.tell(*facts[:orphaned])
    page.wait_for(f"({SAYS}).startsWith('Swapped')")
    tracker.tell(facts[orphaned])
    page.wait_for(f"({SAYS}).startsWith('Funded')")
    tracker.tell(*facts[orphaned + 1 :])
    page.wait_for(f"({SAYS}).startsWith('Delivered')")


@pytest.mark.check
def test_it_reconnects_and_misses_nothing(page: Browser, tracker: FakeTracker) -> None:
    """While the server is away the page says so; what happened meanwhile is there afterwards."""
    open_page(page, tracker)
    facts = made.happy()
    tracker.tell(*facts[:7])
    page.wait_for(f"({SAYS}).startsWith('Created')")
    tracker.refusing = True
    tracker.drop()
    page.wait_for("document.getElementById('connection-text').innerText == 'reconnecting'")
    tracker.tell(*facts[7:])
    tracker.refusing = False
    page.wait_for(f"({SAYS}).startsWith('Delivered') && {LIVE}")


@pytest.mark.check
def test_a_rewound_world_is_read_anew(page: Browser, tracker: FakeTracker) -> None:
    open_page(page, tracker)
    tracker.tell(*made.happy(), *made.pending(2))
    page.wait_for("document.querySelectorAll('.item').length == 2")
    tracker.rewind(made.pending(3))
    page.wait_for("document.querySelectorAll('.item').length == 1")
    tracker.tell(*made.refunded(4))
    page.wait_for(f"({SAYS}).startsWith('Refunded')")


@pytest.mark.check
def test_the_head_is_shown(page: Browser, tracker: FakeTracker) -> None:
    open_page(page, tracker)
    tracker.move_head(1_234_567, made.GENESIS_MS // 1000 + 60)
    page.wait_for("document.getElementById('head').innerText.startsWith('block 1,234,567')")


@pytest.mark.check
def test_text_from_outside_stays_text(page: Browser, tracker: FakeTracker) -> None:
    """A reason is up to 31 bytes that anybody chose."""
    open_page(page, tracker)
    tracker.tell(*made.refunded(reason="<img src=x onerror=alert(1)>"))
    page.wait_for(f"({SAYS}).includes('<img src=x onerror=alert(1)>')")
    assert page.eval("document.querySelectorAll('img').length") == 0


@pytest.mark.check
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_overflows_on_a_phone(page: Browser, tracker: FakeTracker, dark: bool) -> None:
    """At 360 pixels, in the list and in an open settlement with its log."""
    page.resize(360, 740)
    page.theme(dark)
    open_page(page, tracker)
    tracker.tell(*made.happy(asset_amount=10**29 + 1), *made.refunded(2, reason="x" * 31))
    page.wait_for("document.querySelectorAll('.item').length == 2")
    assert page.overflow() == 0
    for n in (1, 2):
        page.click(f".item:nth-child({n}) .toggle")
        page.wait_for(f"document.querySelector('.item:nth-child({n}) .journal')")
        assert page.overflow() == 0


@pytest.mark.check
def test_details_open_by_keyboard_and_copy(page: Browser, tracker: FakeTracker) -> None:
    """The whole hash is there, and the log has every fact as it came."""
    open_page(page, tracker)
    facts = made.happy(asset_amount=10**20 + 1)
    tracker.tell(*facts)
    page.wait_for(f"({SAYS}).startsWith('Delivered')")
    page.eval("document.querySelector('[data-filter=refunded]').focus()")
    page.key("Tab")
    assert page.eval("document.activeElement.className") == "toggle"
    page.key("Enter")
    page.wait_for("document.querySelectorAll('.journal li').length > 0")
    assert page.eval("document.activeElement.getAttribute('aria-expanded')") == "true"
    about = [f for f in facts if f.subject == made.Story().id]
    assert len(about) == page.eval("document.querySelectorAll('.journal li').length")
    assert "asset_amount 100000000000000000001" in page.text()
    swap = next(f.block.tx for f in facts if isinstance(f, ev.SettlementSwapped) and f.block)
    assert page.eval(f"!!document.querySelector('td [data-copy=\"{swap}\"]')")
    page.click(f'td [data-copy="{swap}"]')
    page.wait_for("document.getElementById('said').textContent == 'Copied'")
    assert page.eval("document.querySelectorAll('tbody tr').length") == 8


@pytest.mark.check
def test_five_hundred_settlements_stay_quick(page: Browser) -> None:
    """Fifty are drawn at once; a flood of facts asks the server a few times, not thousands."""
    with FakeTracker(made.journal(HEAPS, gap_ms=200)) as tracker:
        open_page(page, tracker)
        page.wait_for("document.querySelectorAll('.item').length == 50")
        assert str(HEAPS) == page.eval("document.getElementById('count-all').textContent")
        assert f"1 to 50 of {HEAPS}" in page.text()
        took_ms = page.eval(
            "(() => { const t = performance.now(); drawNow(); return performance.now() - t; })()"
        )
        assert took_ms < 250, "drawing again what is drawn already"

        page.click("#older")
        page.wait_for(f"document.body.innerText.includes('51 to 100 of {HEAPS}')")
        page.click("[data-filter=refunded]")
        page.wait_for(
            "[...document.querySelectorAll('.item')].every(e => e.dataset.status == 'refunded')"
        )
        page.click("[data-filter='']")
        wanted = made.Story(3).id
        page.eval(f"$('find').value = '{wanted[:20]}'; $('find').dispatchEvent(new Event('input'))")
        page.wait_for("document.querySelectorAll('.item').length == 1")

        asked, began = len(tracker.asked), time.monotonic()
        tracker.tell(*(f for n in range(40) for f in made.pending(f"new {n}")))
        page.eval("$('find').value = ''; $('find').dispatchEvent(new Event('input'))")
        page.wait_for(f"document.getElementById('count-all').textContent == '{HEAPS + 40}'")
        questions = len(tracker.asked) - asked
        assert questions <= 2 + 5 * (time.monotonic() - began), tracker.asked[asked:]


@pytest.mark.check
def test_without_javascript_it_says_where_the_data_is(page: Browser, tracker: FakeTracker) -> None:
    page.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        page.goto(tracker.url)
        assert "needs JavaScript" in page.text()
        assert "/api/settlements" in page.text()
    finally:
        page.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_page_names_nothing_outside() -> None:
    """One file, no address but its own."""
    text = PAGE.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?://|//\w+\.\w+/|@import|url\(", text)
