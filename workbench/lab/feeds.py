"""Sources of a tracker's facts: nothing, a finished run, or a running scenario.

A feed owns the lanes. `push` queues facts from any thread; `fold` adds them to the lanes for the
reader. No feed knows the widget that shows it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from workbench.core.errors import WorkbenchError
from workbench.core.facts import Event
from workbench.core.lanes.model import Lanes
from workbench.lab.states import (
    BOOTING,
    BOOTING_TEXT,
    NO_RUN,
    NO_RUN_TEXT,
    OVER,
    SourceSetup,
    SourceState,
    SourceText,
    setup_of,
    text_of,
)
from workbench.results.run import Run
from workbench.scenario import Scenario

LIVE_TICK_S = 0.2
"""Interval at which a live source is read without news, because its clock advances."""


class Feed:
    """The base of all feeds. `lanes`: used by one thread at a time (under the widget's lock)."""

    def __init__(self, setup: SourceSetup | None = None, *, with_blocks: bool = False) -> None:
        self.setup = setup or SourceSetup()
        self.lanes = Lanes(with_blocks=with_blocks)
        self._news = threading.Condition()
        self._pending: list[Event] = []
        self._version = 0
        self._closed = False

    def start(self) -> None:
        """Start to gather. Called once."""

    def state(self) -> SourceState:
        """Return the present state."""
        raise NotImplementedError

    @property
    def origin_ms(self) -> int:
        """Return the Unix milliseconds of time 0."""
        return self.lanes.origin_ms

    @property
    def is_over(self) -> bool:
        """Return True if no more facts can come."""
        return True

    @property
    def tick_s(self) -> float | None:
        """Seconds after which it is read without news; None: never."""
        return None

    # --- Between threads ---

    @property
    def is_closed(self) -> bool:
        """True after `close`."""
        return self._closed

    def push(self, facts: Sequence[Event] = ()) -> None:
        """Queue facts, or signal a change of state. Called from any thread."""
        with self._news:
            self._pending += facts
            self._version += 1
            self._news.notify_all()

    def fold(self) -> bool:
        """Add queued facts to the lanes. Return True if there were any."""
        with self._news:
            facts, self._pending = self._pending, []
        self.lanes.add(facts)
        return bool(facts)

    def wait(self, seen: int) -> int:
        """Wait for news after version `seen`, or for the tick. Return the version."""
        with self._news:
            self._news.wait_for(lambda: self._version != seen or self._closed, self.tick_s)
            return self._version

    def pause(self, seconds: float) -> bool:
        """Sleep, or until it is closed. Return True if it is closed."""
        with self._news:
            return self._news.wait_for(lambda: self._closed, seconds)

    def close(self) -> None:
        """Stop gathering, and wake waiting threads. May be called again."""
        with self._news:
            self._closed = True
            self._news.notify_all()


class TextFeed(Feed):
    """A text instead of lanes."""

    def __init__(self, state: SourceState, setup: SourceSetup | None = None) -> None:
        super().__init__(setup)
        self._state = state

    def state(self) -> SourceState:
        return self._state


def no_feed(setup: SourceSetup | None = None, text: str = "") -> TextFeed:
    """Return a feed with nothing to show. `text`: what the user can do."""
    told = SourceText(NO_RUN, text or NO_RUN_TEXT)
    return TextFeed(SourceState(state="empty", word="Not started", empty=told), setup)


def broken_feed(why: BaseException) -> TextFeed:
    """Return a feed with the error of a source."""
    return TextFeed(SourceState(state="broken", word="Broken", error=text_of(why)))


class RunFeed(Feed):
    """A finished run. `folder`: where it was read from, or None."""

    def __init__(self, run: Run, folder: Path | None = None) -> None:
        scenario = run.scenario
        setup = setup_of(scenario, run.seed) if scenario else SourceSetup(subtitle="one run")
        super().__init__(setup, with_blocks=scenario is None)
        self.run, self._folder = run, folder
        self._trace = run.name
        self.push(run.events)

    def state(self) -> SourceState:
        last_ms = self.lanes.last_ms
        return SourceState(
            state="done" if self.run.finished else "stopped",
            word="Done" if self.run.finished else "Stopped",
            now_ms=0 if last_ms is None else last_ms - self.origin_ms,
            block=self.lanes.block,
            trace=self._trace,
            progress=1.0 if self.run.finished else None,
            repeat=f"workbench replay {self._folder}" if self._folder else "",
        )

    @property
    def origin_ms(self) -> int:
        known = getattr(self.run, "origin_ms", None)
        return self.lanes.origin_ms if known is None else int(known)


def folder_feed(folder: Path) -> Feed:
    """Return the run in this folder, or a text that names the damaged file."""
    try:
        return RunFeed(Run.load(folder), folder)
    except (WorkbenchError, OSError) as why:
        return broken_feed(why)


class SessionLike(Protocol):
    """The part of a session that a tracker uses."""

    state: str
    scenario: Scenario
    seed: int
    failure: Exception | None
    run: Run | None

    @property
    def progress(self) -> Any:
        """Return `now_s`, `duration_s`, `wall_s`, `left_s`, `block`."""

    def subscribe(
        self,
        on_facts: Callable[[int, tuple[Event, ...]], None],
        *,
        after: int = 0,
        at_most_hz: int = 15,
    ) -> Callable[[], None]:
        """Call with each fact once, and with () if the state changed. Return a function that ends
        it."""

    def facts(self, after: int = 0, limit: int | None = None) -> tuple[int, tuple[Event, ...]]:
        """Return the facts after a cursor, and the cursor after them."""


_STATE_OF = {
    "booting": ("loading", "Booting"),
    "running": ("live", "Running"),
    "quieting": ("live", "Settling"),
    "paused": ("paused", "Paused"),
    "done": ("done", "Done"),
    "stopped": ("stopped", "Stopped"),
    "failed": ("broken", "Broken"),
}
_ENDED = frozenset({"done", "stopped", "failed"})


class SessionFeed(Feed):
    """A running scenario, from its first fact to its last."""

    def __init__(self, session: SessionLike) -> None:
        super().__init__(setup_of(session.scenario, session.seed))
        self.session = session
        self._cursor = 0
        self._unsubscribe: Callable[[], None] | None = None
        self._is_whole = False

    def start(self) -> None:
        self._unsubscribe = self.session.subscribe(self._on_facts, after=0)

    def _on_facts(self, cursor: int, facts: tuple[Event, ...]) -> None:
        """Called in the session's thread. Facts that `facts` returned are skipped."""
        with self._news:
            if self._is_whole or (facts and cursor <= self._cursor):
                return
            if facts:
                self._cursor = cursor
            self.push(facts)

    def fold(self) -> bool:
        """Also read, at the end, what the subscription has not delivered."""
        if not self._is_whole and self.session.state in _ENDED:
            with self._news:
                self._is_whole, after = True, self._cursor
            # Not under our lock: the session may hold its own while it waits for ours.
            self._stop()
            _, rest = self.session.facts(after=after)
            self.push(rest)
        return super().fold()

    def _stop(self) -> None:
        unsubscribe, self._unsubscribe = self._unsubscribe, None
        if unsubscribe is not None:
            unsubscribe()

    def close(self) -> None:
        super().close()
        self._stop()

    @property
    def is_over(self) -> bool:
        return self._is_whole

    @property
    def tick_s(self) -> float | None:
        return LIVE_TICK_S if self.session.state not in _ENDED | {"paused"} else None

    @property
    def origin_ms(self) -> int:
        known = getattr(self.session, "origin_ms", None)
        return self.lanes.origin_ms if known is None else int(known)

    def state(self) -> SourceState:
        session, now = self.session, self.session.progress
        word = session.state
        state, said = _STATE_OF[word]
        error = None
        if state == "broken":
            error = text_of(session.failure or WorkbenchError("The run has failed."))
        part = now.now_s / now.duration_s if now.duration_s else None
        return SourceState(
            state=state,
            word=said,
            pace=_pace(now) if state == "live" else "",
            now_ms=round(1_000 * now.now_s),
            block=now.block,
            trace=session.run.name if session.run else "",
            progress=None if part is None or state == "loading" else min(1.0, part),
            progress_text=BOOTING_TEXT if state == "loading" else "",
            empty=SourceText(BOOTING, BOOTING_TEXT) if state == "loading" else None,
            error=error,
        )


def _pace(now: Any) -> str:
    """Return `12 × real time, 11 s left`, without the boot."""
    if now.left_s:
        times, left = (now.duration_s - now.now_s) / now.left_s, f", {now.left_s:.0f} s left"
    elif now.wall_s and now.now_s:
        times, left = now.now_s / now.wall_s, ""
    else:
        return ""
    return f"{times:,.0f} × real time{left}" if times >= 10 else f"{times:.1f} × real time{left}"


def is_ended(feed: Feed) -> bool:
    """Return True if the feed has ended by itself."""
    return feed.is_over and feed.state().state in OVER | {"broken"}
