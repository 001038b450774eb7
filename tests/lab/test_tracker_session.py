"""The tracker widget follows a running session, at most fifteen frames a second."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

from tests import facts
from tests.facts import GENESIS_MS
from tests.lab.fakes import (
    FakeProgress,
    FakeSession,
    Sent,
    a_run,
    ended,
    say,
)
from tests.lane_facts import gave_up, planned
from workbench.core import facts as ev
from workbench.core.errors import RpcUnreachable
from workbench.lab.tracker import FRAMES_HZ, tracker

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
