"""What the tracker widgets of a test send."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.lab.fakes import (
    Sent,
    ended,
)
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
