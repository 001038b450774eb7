"""The credits' pages as a reader meets them: in a real browser, with a mouse, also on a phone."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.browser import CHROMIUM, MISSING, Browser
from tests.services.payouts.desk import TO, Desk, ask
from workbench.web.server import Server

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


class Site:
    """The service on a real socket, in a thread of its own."""

    def __init__(self) -> None:
        self.desk = Desk()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self.do(lambda: Server(self.desk.service, host="127.0.0.1", port=0))
        self.url = self.server.url

    def do(self, act: Callable[[], Any]) -> Any:
        async def whole() -> Any:
            result = act()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(whole(), self._loop).result(10)

    def tick(self) -> None:
        self.do(self.desk.storm.payouts.tick)

    def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.desk.storm.chain.mine()
            self.desk.storm.loop.jump(2)
            self.tick()

    def close(self) -> None:
        self.do(self.server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self.desk.storm.loop.close()
        self.desk.storm.store.close()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with Browser() as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Browser]:
    """An empty tab. Whatever a test does, the page never throws or loads from outside."""
    chromium.resize(1100, 900)
    chromium.theme(dark=False)
    chromium.goto("about:blank")
    chromium.requests.clear()
    chromium.errors.clear()
    yield chromium
    assert [e for e in chromium.errors if "400" not in e and "409" not in e] == []
    outside = [
        u for u in chromium.requests if not re.match(r"http://127\.0\.0\.1:|data:|about:", u)
    ]
    assert outside == []
    chromium.goto("about:blank")


@pytest.fixture
def site() -> Iterator[Site]:
    up = Site()
    yield up
    up.close()


def fill(page: Browser, form: int, **fields: str) -> None:
    """Type into a form, and press its button."""
    for name, value in fields.items():
        page.eval(f"document.forms[{form}].elements['{name}'].value = {value!r}")
    page.click(f"form:nth-of-type({form + 1}) button")


def test_award_and_pay_with_the_mouse(page: Browser, site: Site) -> None:
    """Two forms lead to the user's page, which says where the payout stands until it is paid."""
    page.goto(site.url)
    fill(page, 0, user_id="alice", credits="100")
    page.wait_for("location.pathname == '/user/alice'")
    page.wait_for("document.querySelector('.balance b')?.innerText == '100'")
    assert "No payout yet" in page.text()
    fill(page, 0, address=TO, credits="40")
    page.wait_for("document.querySelector('.item.approved')")
    assert "and 40 set aside" in page.text()
    assert "0.04 ETH" in page.text()
    site.tick()
    page.goto(f"{site.url}/user/alice")
    assert "on its way" in page.text()
    site.mine(10)
    page.wait_for("document.querySelector('.item.paid')")  # It looks again by itself.
    assert "60" == page.eval("document.querySelector('.balance b').innerText")
    assert 3 == page.eval("document.querySelectorAll('.steps .done').length")
    page.eval("history.back()")
    assert {TO: 1} == site.desk.storm.chain.paid()


@pytest.mark.check
def test_a_double_click_is_one_request(page: Browser, site: Site) -> None:
    """The form's hidden key: sent twice, and sent again from the page before, it is done once."""
    page.goto(site.url)
    page.eval("document.forms[0].elements['user_id'].value = 'bob'")
    page.eval("document.forms[0].elements['credits'].value = '7'")
    form = "new URLSearchParams(new FormData(document.forms[0]))"
    sent = f"fetch('/earn', {{method: 'POST', body: {form}}})"
    page.eval(f"Promise.all([{sent}, {sent}, {sent}]).then(() => true)")
    page.goto(f"{site.url}/user/bob")
    assert "7" == page.eval("document.querySelector('.balance b').innerText")


@pytest.mark.check
def test_what_is_wrong_is_said_in_words(page: Browser, site: Site) -> None:
    """The browser checks first; what gets through is answered by a page, with the way back."""
    page.goto(site.url)
    page.eval("document.forms[1].noValidate = true")
    fill(page, 1, user_id="carol", address="0x12", credits="5")
    page.wait_for("document.body?.innerText.includes('That did not work')")
    assert "is not an address" in page.text()
    page.click("main a")
    page.wait_for("document.forms.length == 2")
    fill(page, 1, user_id="carol", address=TO, credits="5")
    page.wait_for("document.body?.innerText.includes('That did not work')")
    assert "carol has 0 credits that are free; 5 were asked" in page.text()
    page.goto(f"{site.url}/user/carol")
    fill(page, 0, address=TO, credits="6")
    page.wait_for("document.body?.innerText.includes('That did not work')")
    page.click("main a")
    page.wait_for("location.pathname == '/user/carol'")


@pytest.mark.check
@pytest.mark.parametrize("dark", [False, True])
def test_nothing_is_wider_than_a_phone(page: Browser, site: Site, dark: bool) -> None:
    """Also a user's name without a gap, and long hashes."""
    name = "x" * 128
    site.desk.earn(1_000, user=name)
    site.desk.post("/payout", {"user_id": name, "address": TO, "credits": 999})
    site.mine(10)
    page.theme(dark)
    page.resize(320, 640)
    for path in ("/", f"/user/{name}"):
        page.goto(site.url + path)
        assert 0 == page.overflow(), path


def typed(page: Browser, name: str) -> str:
    return str(page.eval(f"document.querySelector('form [name={name}]').value"))


def test_a_wrong_form_keeps_what_was_typed(page: Browser, site: Site) -> None:
    """With the message above it; corrected, it is a new request."""
    site.desk.earn(5)
    page.goto(f"{site.url}/")
    page.eval(
        "(() => { const form = document.forms[1];"
        "form.noValidate = true; form.user_id.value = 'u1'; form.credits.value = '6';"
        f"form.address.value = '{TO}'; form.submit(); }})()"
    )
    page.wait_for("document.querySelector('h1')?.textContent === 'That did not work'")
    assert (typed(page, "user_id"), typed(page, "credits")) == ("u1", "6")
    assert typed(page, "address") == TO
    assert "6 were asked" in page.eval("document.querySelector('main').textContent")
    page.eval(
        "(() => { const form = document.querySelector('form');"
        "form.credits.value = '5'; form.submit(); })()"
    )
    page.wait_for("location.pathname === '/user/u1'")
    assert len(site.desk.user()["payouts"]) == 1


def test_an_unknown_user_is_not_one_without_credits(page: Browser, site: Site) -> None:
    page.goto(f"{site.url}/user/nobody")
    text = page.eval("document.querySelector('main').textContent")
    assert "This user is not known" in text
    assert "0credits" not in text
    assert site.desk.user("nobody")["known"] is False


def test_without_scripts_a_page_with_an_open_payout_asks_again(site: Site) -> None:
    site.desk.earn()
    asks_again = '<noscript><meta http-equiv="refresh" content="5"></noscript>'

    def page_of_user() -> str:
        return site.desk.get("/user/u1", ("Accept", "text/html")).body.decode()

    assert asks_again not in page_of_user()
    site.desk.post("/payout", ask())
    assert asks_again in page_of_user()
    site.desk.settle()
    assert asks_again not in page_of_user()
