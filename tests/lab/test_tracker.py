"""The tracker widget: what it sends of a finished run, and that it comes to an end."""

from __future__ import annotations

import base64
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from tests import facts
from tests.lab.fakes import (
    PATIENCE_S,
    PNG,
    FakeSession,
    Sent,
    a_run,
    ended,
    say,
)
from tests.lane_facts import lanes_of
from tests.sim.scenarios import small
from workbench.core import facts as ev
from workbench.core.errors import InputError
from workbench.lab.feeds import SessionFeed
from workbench.lab.tracker import PLACEHOLDER, Tracker, module_text, tracker

# --- A finished run ---


def test_a_view_that_says_hello_gets_all_there_is(sent: Sent) -> None:
    """Setup, state, lanes, marks; and again for a second view, or after a reload."""
    run = a_run()
    widget = tracker(run)
    ended(widget)
    assert sent.messages == [], "nobody looks"
    say(widget, {"kind": "hello"})
    assert sent.kinds() == ["setup", "state", "lanes", "marks"]
    state = sent.last("state")
    assert (state["state"], state["trace"]) == ("done", run.name)
    assert state["now_ms"] == max(f.at_ms for f in run.events) - run.events[0].at_ms
    first = sent.messages[2]
    assert (first[0]["reset"], first[0]["lanes"], len(first[0]["names"])) == (True, 5, 5)
    say(widget, {"kind": "hello"})
    assert sent.messages[4:] == sent.messages[:4]


def test_open_is_answered_with_the_facts_of_the_lane(sent: Sent) -> None:
    """In order of time, in words, with amounts in tokens; struck where a reorg took them back."""
    widget = tracker(a_run(facts.reorged()))
    say(widget, {"kind": "open", "lane": 0})
    told = sent.last("facts")
    assert (told["lane"], told["title"], told["more"]) == (0, "Buyer 1", "")
    lines = told["lines"]
    assert [line["at_ms"] for line in lines] == sorted(line["at_ms"] for line in lines)
    texts = [line["text"] for line in lines]
    assert texts[0] == "HTTP 402: 100 YPS for 110 USDC"
    assert "The vault swapped 100.301504 EURC for 110 USDC" in texts
    assert any(line["struck"] for line in lines)
    swap = next(line for line in lines if line["colour"] == "swapped")
    assert (swap["source"], swap["right"].split(",")[0]) == ("SettlementVault", "block 43")
    say(widget, {"kind": "open", "lane": 7})
    say(widget, {"kind": "open", "lane": "0"})
    assert sent.kinds() == ["facts"], "a lane that is not there has no facts"


def test_every_kind_of_fact_has_words(sent: Sent) -> None:
    """Also one that has none of its own."""
    identity = facts.Story().id
    widget = tracker(a_run([*facts.happy(), *facts.one_of_each(identity)]))
    say(widget, {"kind": "open", "lane": 0})
    lines = sent.last("facts")["lines"]
    assert len(lines) >= len(ev.Event.kinds)
    assert all(line["text"] and "None" not in line["text"] for line in lines)


def test_a_run_that_was_stopped_says_so(sent: Sent) -> None:
    """Its folder too, which can be played again."""
    widget = tracker(a_run(finished=False))
    assert (widget.state, repr(widget)) == ("stopped", "Tracker(5 lanes, stopped)")
    assert widget.lanes.outcomes() == lanes_of(facts.journal(5)).outcomes()


def test_a_folder_is_read_and_a_damaged_one_is_told(sent: Sent, tmp_path: Path) -> None:
    """The sentence names the file."""
    run, folder = a_run(), tmp_path / "run"
    run.save_facts(folder)
    widget = tracker(folder)
    assert repr(widget) == "Tracker(5 lanes, done)"
    say(widget, {"kind": "hello"})
    assert sent.last("state")["repeat"] == f"workbench replay {folder}"
    journal = folder / "events.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    broken = tracker(str(folder))
    say(broken, {"kind": "hello"})
    state = sent.last("state")
    assert (broken.state, state["state"]) == ("broken", "broken")
    assert "events.jsonl" in state["error"]["title"]
    assert state["error"]["text"] == "Run it again, or restore the file."
    say(tracker(tmp_path / "none"), {"kind": "hello"})
    assert "is no run folder" in sent.last("state")["error"]["title"]


def test_nothing_to_show_is_told(sent: Sent) -> None:
    """With what one can do; and of what is going to be run, once that is known."""
    widget = tracker(None)
    say(widget, {"kind": "hello"})
    assert sent.last("state")["empty"]["title"] == "No run yet"
    assert repr(widget) == "Tracker(0 lanes, empty)"
    widget.show(None, scenario=small(), seed=9, text="Run plays 5 purchases.")
    sent.until(lambda: sent.kinds().count("setup") >= 2)
    assert sent.last("setup")["subtitle"] == "small.yaml, seed 9"
    sent.until(lambda: sent.last("state")["empty"]["text"] == "Run plays 5 purchases.")
    for show in (tracker, widget.show):
        with pytest.raises(InputError, match="cannot show a int"):
            show(7)
    assert widget.state == "empty"


# --- The widget ---


def test_a_saved_notebook_shows_a_picture(sent: Sent) -> None:
    """First a chart of the same facts, then what the view drew last; and the view itself."""
    for source in (a_run(), FakeSession(), None):
        data, _ = tracker(source)._repr_mimebundle_()
        assert base64.b64decode(data["image/png"]).startswith(PNG)
        assert data["text/plain"].startswith("Tracker(")
        assert "application/vnd.jupyter.widget-view+json" in data
    widget = tracker(None)
    drawn = PNG + b"of the view"
    say(
        widget,
        {"kind": "picture", "png": "data:image/png;base64," + base64.b64encode(drawn).decode()},
    )
    data, _ = widget._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == drawn
    say(widget, {"kind": "picture"}, [memoryview(PNG + b"bytes")])
    assert widget._picture_png() == PNG + b"bytes"
    for odd in ("%%%", base64.b64encode(b"GIF89a").decode(), 7):
        say(widget, {"kind": "picture", "png": odd})
    assert widget._picture_png() == PNG + b"bytes", "what is no PNG is not taken"


def test_a_chart_of_a_session_shows_its_lanes(sent: Sent) -> None:
    """Another picture than that of nothing."""
    session = FakeSession()
    empty = tracker(session)._picture_png()
    session.tell(*facts.journal(4))
    assert tracker(session)._picture_png() != empty


def test_repr_names_no_place_in_memory(sent: Sent) -> None:
    """Equal for equal sources."""
    assert repr(tracker(a_run())) == repr(tracker(a_run())) == "Tracker(5 lanes, done)"


def test_commands_go_to_the_host(sent: Sent) -> None:
    """Which says what it can carry out; without a host nothing happens."""
    widget = tracker(None)
    say(widget, {"kind": "hello"})
    assert sent.last("setup")["commands"] == []
    say(widget, {"kind": "command", "name": "run"})
    heard: list[tuple[str, Any]] = []
    widget.on_command = lambda name, message: heard.append((name, message.get("site")))
    widget.commands = ("run", "stop")
    assert sent.last("setup")["commands"] == ["run", "stop"]
    say(widget, {"kind": "command", "name": "fault", "site": "crash.seller"})
    assert heard == [("fault", "crash.seller")]


def test_what_is_no_message_is_passed_over(sent: Sent) -> None:
    """A view of another version."""
    widget = tracker(a_run())
    odds: tuple[Any, ...] = (None, [], "hello", {}, {"kind": "dance"}, {"kind": "open"})
    for odd in odds:
        say(widget, odd)
    assert sent.messages == []


def test_close_ends_the_thread_and_nothing_is_sent_any_more(sent: Sent) -> None:
    """Whoever waits is woken, and the session is let go."""
    session = FakeSession("paused")
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    widget.close()
    ended(widget)
    assert session.subscribers == []
    count = len(sent.messages)
    session.tell(*facts.happy(1))
    assert len(sent.messages) == count


def test_a_forgotten_widget_is_let_go() -> None:
    """Neither its thread nor its source keeps it; ipywidgets itself does, until it is closed."""
    session = FakeSession("paused")
    widget = Tracker(session)
    feed, thread, gone = widget._feed, widget._thread, weakref.ref(widget)
    assert isinstance(feed, SessionFeed)
    assert thread is not None
    super(Tracker, widget).close()  # Only the registry of ipywidgets forgets it.
    del widget
    gc.collect()
    assert gone() is None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert feed.is_closed
    assert session.subscribers == []


def test_the_module_is_one_text() -> None:
    """That of the lanes, or a placeholder with the same hello."""
    text = module_text()
    assert "hello" in text
    assert "export default" in text
    assert "hello" in PLACEHOLDER
    assert str(Tracker._esm) == text
