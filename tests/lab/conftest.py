"""What the tracker widgets of a test send."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import Browser
from tests.lab.fakes import (
    Sent,
    ended,
)
from tests.lab.lanes_actions import HEIGHT, WIDTH, Open
from tests.lab.page import LanesPage
from workbench.lab.tracker import Tracker


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    """All that trackers send in this test; at its end they are closed, and their threads end."""
    log, made = Sent(), list[Tracker]()
    begin = Tracker.__init__

    def send(self: Tracker, content: Any, buffers: Any = None) -> None:
        with log.news:
            log.messages.append((json.loads(json.dumps(content)), list(buffers or ())))
            log.times.append(time.monotonic())
            log.news.notify_all()

    def init(self: Tracker, *args: Any, **more: Any) -> None:
        begin(self, *args, **more)
        made.append(self)

    monkeypatch.setattr(Tracker, "send", send)
    monkeypatch.setattr(Tracker, "__init__", init)
    yield log
    for widget in made:
        widget.close()
        ended(widget)
    made.clear()


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
