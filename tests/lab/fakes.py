"""What tests of the tracker widget put in the place of a view, a session, and a served tracker."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests import facts
from tests.lab.test_encoding import decoded
from tests.sim.scenarios import small
from workbench.core import facts as ev
from workbench.lab.tracker import Tracker
from workbench.results.run import Run
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
