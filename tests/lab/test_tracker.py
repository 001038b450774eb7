"""The tracker widget: what it sends, from every kind of source, and that it comes to an end."""

from __future__ import annotations

import base64
import gc
import json
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from tests import facts
from tests.core.test_lanes import gave_up, lanes_of, planned
from tests.facts import GENESIS_MS
from tests.lab.test_encoding import decoded
from tests.sim.scenarios import small
from workbench.core import events as ev
from workbench.core.errors import InputError, RpcUnreachable
from workbench.lab import feeds, served_feed
from workbench.lab.feeds import SessionFeed
from workbench.lab.served_feed import ServedFeed
from workbench.lab.tracker import FRAMES_HZ, PLACEHOLDER, Tracker, module_text, tracker
from workbench.run import Run
from workbench.scenario import Scenario

PATIENCE_S = 20.0
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass
class Sent:
    """What a widget sent, when (s), and a way to wait for more."""

    messages: list[tuple[dict[str, Any], list[bytes]]] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    news: threading.Condition = field(default_factory=threading.Condition)

    def kinds(self) -> list[str]:
        return [message["kind"] for message, _ in self.messages]

    def last(self, kind: str) -> dict[str, Any]:
        return next(m for m, _ in reversed(self.messages) if m["kind"] == kind)

    def until(self, is_there: Callable[[], bool]) -> None:
        """Wait until something sent makes it true."""
        with self.news:
            assert self.news.wait_for(is_there, PATIENCE_S), self.kinds()

    def shown(self) -> dict[int, Any]:
        """The lanes as a view has them that got all messages."""
        known: dict[int, Any] = {}
        for message, buffers in list(self.messages):
            if message["kind"] == "lanes":
                known = {} if message["reset"] else known
                known.update({each.lane: each for each in decoded(buffers[0])})
        return known


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


def ended(widget: Tracker) -> None:
    """Wait for its thread, which must end."""
    thread = widget._thread
    assert thread is not None
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def say(widget: Tracker, message: Any, buffers: Sequence[Any] = ()) -> None:
    """As the view does."""
    widget._handle_custom_msg(message, list(buffers))


def a_run(told: Sequence[ev.Event] | None = None, **more: Any) -> Run:
    return Run(tuple(facts.journal(5) if told is None else told), **more)


# --- A fake session ---


@dataclass
class FakeProgress:
    now_s: float = 0.0
    duration_s: float = 120.0
    wall_s: float = 1.0
    left_s: float | None = None
    block: int | None = None


class FakeSession:
    """A session whose facts the test tells."""

    def __init__(self, state: str = "running") -> None:
        self.state = state
        self.scenario: Scenario = small()
        self.seed = 3
        self.failure: Exception | None = None
        self.run: Run | None = None
        self.told: list[ev.Event] = []
        self.progress = FakeProgress()
        self.subscribers: list[Callable[[int, tuple[ev.Event, ...]], None]] = []

    def subscribe(
        self,
        on_facts: Callable[[int, tuple[ev.Event, ...]], None],
        *,
        after: int = 0,
        at_most_hz: int = 15,
    ) -> Callable[[], None]:
        self.subscribers.append(on_facts)
        if self.told[after:]:
            on_facts(len(self.told), tuple(self.told[after:]))
        return lambda: self.subscribers.remove(on_facts)

    def facts(self, after: int = 0, limit: int | None = None) -> tuple[int, tuple[ev.Event, ...]]:
        page = self.told[after:] if limit is None else self.told[after : after + limit]
        return after + len(page), tuple(page)

    def tell(self, *told: ev.Event) -> None:
        self.told += told
        for each in list(self.subscribers):
            each(len(self.told), told)

    def become(self, state: str) -> None:
        self.state = state
        for each in list(self.subscribers):
            each(len(self.told), ())


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


# --- A running session ---


def test_a_session_is_followed_to_its_end(sent: Sent) -> None:
    """Booting, running, done; each fact once, and no thread left."""
    session = FakeSession("booting")
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    state = sent.last("state")
    assert (state["state"], state["empty"]["title"]) == ("loading", "Booting the chain")
    assert state["progress_text"] == "The node starts, and the contracts are deployed."
    session.progress = FakeProgress(now_s=36.0, wall_s=5.0, left_s=7.0, block=9)
    session.become("running")
    session.tell(planned(0, 0), planned("late", 60), *facts.happy(0))
    sent.until(lambda: len(sent.shown()) == 2 and sent.shown()[0].outcome == "executed")
    state = sent.last("state")
    assert (state["state"], state["now_ms"], state["block"]) == ("live", 36_000, 9)
    assert state["pace"] == "12 × real time, 7 s left"
    assert state["progress"] == 0.3
    assert sent.shown()[1].outcome == "not_come"
    session.progress = replace(session.progress, now_s=70.0)
    sent.until(lambda: sent.shown()[1].outcome == "open")
    session.told.append(gave_up("late", 80, "terms_mismatch"))
    session.run = a_run(session.told)
    session.become("done")
    sent.until(lambda: sent.last("state")["state"] == "done")
    sent.until(lambda: sent.shown()[1].outcome == "gave_up")
    ended(widget)
    assert session.subscribers == []
    assert widget.lanes.count == len(session.told)
    assert sent.last("state")["trace"] == session.run.name


def test_a_pause_and_a_failure_are_told(sent: Sent) -> None:
    """A lost node: what was run until then stays."""
    session = FakeSession()
    session.tell(*facts.pending(1))
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    session.become("paused")
    sent.until(lambda: sent.last("state")["state"] == "paused")
    session.failure = RpcUnreachable("The node was lost.", hint="Play it again.")
    session.become("failed")
    sent.until(lambda: sent.last("state")["state"] == "broken")
    assert sent.last("state")["error"] == {"title": "The node was lost.", "text": "Play it again."}
    assert len(widget.lanes) == 1
    ended(widget)


def test_frames_are_fifteen_a_second_at_most_whatever_comes(sent: Sent) -> None:
    """A thousand facts a second for two seconds: few frames, and every fact arrives."""
    told = [fact for n in range(80) for fact in facts.happy(n, GENESIS_MS + n * 100)]
    session, tick = FakeSession(), threading.Event()
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    before = len(sent.messages)
    began = time.monotonic()

    def drive() -> None:
        for first in range(0, len(told), 10):
            session.tell(*told[first : first + 10])
            tick.wait(0.01)  # The pace of the facts; nothing waits for it.
        session.become("done")

    thread = threading.Thread(target=drive)
    thread.start()
    sent.until(lambda: sent.last("state")["state"] == "done")
    thread.join()
    ended(widget)
    took = time.monotonic() - began
    frames = [kind for kind in sent.kinds()[before:] if kind == "lanes"]
    assert took > 1.5
    assert 2 <= len(frames) <= took * FRAMES_HZ + 2
    gaps = [
        later - earlier
        for earlier, later in zip(*(
            [t for t, k in zip(sent.times, sent.kinds(), strict=True) if k == "lanes"][n:]
            for n in (1, 2)
        ), strict=False)
    ]  # fmt: skip
    assert min(gaps) > 0.8 / FRAMES_HZ
    assert widget.lanes.count == len(told)
    assert {lane.outcome for lane in sent.shown().values()} == {"executed"}
    assert len(sent.shown()) == 80


def test_an_open_lane_is_told_again_when_it_changes(sent: Sent) -> None:
    """Until its details are closed."""
    session = FakeSession()
    told = facts.happy(1)
    session.tell(*told[:5])
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    say(widget, {"kind": "open", "lane": 0})
    count = len(sent.last("facts")["lines"])
    session.tell(*told[5:])
    sent.until(lambda: len(sent.last("facts")["lines"]) > count)
    say(widget, {"kind": "close"})
    shown = sent.kinds().count("facts")
    session.tell(*facts.happy(2))
    sent.until(lambda: len(sent.shown()) == 2)
    assert sent.kinds().count("facts") == shown


def test_another_source_takes_the_place_of_the_one_before(sent: Sent) -> None:
    """The same widget for all runs of a panel; the session before is let go."""
    session = FakeSession()
    session.tell(*facts.happy(1))
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    widget.show(a_run())
    assert session.subscribers == []
    sent.until(lambda: len(sent.shown()) == 5)
    session.tell(*facts.happy(9))
    assert (len(widget.lanes), widget.state) == (5, "done")
    ended(widget)


def test_a_session_that_holds_its_lock_while_it_tells_does_not_block(sent: Sent) -> None:
    """The end is fetched outside of our lock: two threads, two locks, no embrace."""
    session, lock = FakeSession(), threading.RLock()
    plain_tell, plain_facts = session.tell, session.facts

    def tell(*told: ev.Event) -> None:
        with lock:
            plain_tell(*told)

    def page(after: int = 0, limit: int | None = None) -> tuple[int, tuple[ev.Event, ...]]:
        with lock:
            return plain_facts(after, limit)

    session.facts = page  # type: ignore[method-assign]
    widget = tracker(session)
    say(widget, {"kind": "hello"})
    for n in range(40):
        tell(*facts.pending(n))
    session.state = "stopped"
    tell(*facts.pending("last"))
    sent.until(lambda: sent.last("state")["state"] == "stopped")
    ended(widget)
    assert widget.lanes.count == len(session.told)


# --- A served tracker ---


class Journal:
    """A tracker that serves these facts, page after page."""

    def __init__(self, told: Sequence[ev.Event], page: int = 40) -> None:
        self.told, self.page, self.answer = list(told), page, b""

    def body(self, path: str) -> bytes:
        if self.answer:
            return self.answer
        after = int(path.rpartition("=")[2])
        page = self.told[after : after + self.page]
        rows = [{"seq": after + n, **ev.to_dict(fact)} for n, fact in enumerate(page, 1)]
        data = {"events": rows, "next": after + len(page), "last": len(self.told)}
        return json.dumps(data).encode()


@contextmanager
def serving(journal: Journal, port: int = 0) -> Iterator[str]:
    """An HTTP server in a thread, for as long as the block runs."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = journal.body(self.path)
            self.send_response(200 if body != b"500" else 500)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


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
    super(Tracker, widget).close()  # The registry of ipywidgets forgets it, nobody else is told.
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
