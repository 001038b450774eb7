"""The tracker widget follows a served tracker, away or there."""

from __future__ import annotations

from typing import cast

import pytest

from tests import facts
from tests.lab.fakes import (
    PATIENCE_S,
    Journal,
    Sent,
    ended,
    say,
    serving,
)
from workbench.lab import feeds, served_feed
from workbench.lab.served_feed import ServedFeed
from workbench.lab.tracker import tracker

# --- A served tracker ---


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again at once, so that a test need not wait."""
    monkeypatch.setattr(served_feed, "MOST_WAIT_S", 0.05)
    monkeypatch.setattr(feeds, "LIVE_TICK_S", 0.02)


def test_a_served_tracker_is_followed(sent: Sent, soon: None) -> None:
    """All pages, then what is new; blocks are marks, since no block time is known."""
    journal = Journal(facts.journal(4))
    with serving(journal) as url:
        widget = tracker(url)
        say(widget, {"kind": "hello"})
        sent.until(lambda: len(sent.shown()) == 4)
        assert widget.state == "live"
        assert sent.last("setup")["subtitle"] == url
        journal.told += facts.pending("new", journal.told[-1].at_ms + 5_000)
        sent.until(lambda: len(sent.shown()) == 5)
        sent.until(lambda: sent.last("state")["now_ms"] > 10**6)  # It is open: time goes on.
        journal.told = facts.happy("other world")
        sent.until(lambda: len(sent.shown()) == 1)
        feed = cast(ServedFeed, widget._feed)
        widget.close()
        ended(widget)
        feed.thread.join(PATIENCE_S)
        assert not feed.thread.is_alive()


def test_an_address_that_does_not_answer_is_told_until_it_does(sent: Sent, soon: None) -> None:
    """A sentence, and then the lanes."""
    journal = Journal(facts.journal(3))
    with serving(journal) as url:
        port = int(url.rpartition(":")[2])
    widget = tracker(url)
    say(widget, {"kind": "hello"})
    sent.until(lambda: sent.last("state")["state"] == "broken")
    error = sent.last("state")["error"]
    assert error["title"].startswith(f"The tracker at {url} does not answer: ")
    assert "It is asked again in" in error["text"]
    with serving(journal, port):
        sent.until(lambda: sent.last("state")["state"] == "live")
        sent.until(lambda: len(sent.shown()) == 3)
        assert sent.last("state")["error"] is None
        journal.answer = b"500"
        sent.until(lambda: sent.last("state")["state"] == "broken")
        assert "answers with HTTP 500" in sent.last("state")["error"]["title"]
        assert len(sent.shown()) == 3, "what is known stays"
        journal.answer = b'{"hello": 1}'
        sent.until(lambda: "not as a tracker" in sent.last("state")["error"]["title"])
        journal.answer = b""
        sent.until(lambda: sent.last("state")["state"] == "live")


def test_an_address_of_another_kind_is_told(sent: Sent) -> None:
    """No request is made."""
    widget = tracker("ftp://localhost/x")
    say(widget, {"kind": "hello"})
    assert "is not the address of a tracker" in sent.last("state")["error"]["title"]
