"""A tracker without a chain: the page, its API and its stream, over facts that a test tells.

Follows the contract of `workbench.services.otc.tracker`. Runs in a thread, so that a test can drive
a browser from its own.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable
from importlib import resources
from types import TracebackType
from typing import Any

import pandas as pd
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from workbench.core import facts as ev
from workbench.core import lifecycle
from workbench.results import frames

PAGE = resources.files("workbench.web").joinpath("static/tracker.html")


class FakeTracker:
    """`tell` facts, move the `head`; `asked` lists the paths that were requested."""

    def __init__(self, facts: Iterable[ev.Event] = ()) -> None:
        self.facts = list(facts)
        self.head = {"number": 40, "timestamp": 1_767_225_600}
        self.asked: list[str] = []
        self.refusing = False
        self._views: tuple[list[ev.Event], list[dict[str, Any]]] | None = None
        self._streams: set[asyncio.Queue[str | None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> FakeTracker:
        self._thread.start()
        self._do(self._listen)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.drop()
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def tell(self, *facts: ev.Event) -> None:
        """Facts happen, and are streamed to whoever listens."""

        def do() -> None:
            for fact in facts:
                self.facts.append(fact)
                self._push(self._message(len(self.facts), fact))

        self._do(do)

    def move_head(self, number: int, timestamp: int) -> None:
        """A block is mined; Unix seconds."""
        self.head = {"number": number, "timestamp": timestamp}
        self._do(lambda: self._push(f"event: head\ndata: {json.dumps(self.head)}\n\n"))

    def rewind(self, facts: Iterable[ev.Event]) -> None:
        """The world goes back to these facts."""
        self.facts = list(facts)
        self._do(lambda: self._push("event: rewound\ndata: {}\n\n"))

    def drop(self) -> None:
        """Every stream breaks off."""
        self._do(lambda: self._push(None))

    def settlements(self) -> list[dict[str, Any]]:
        """The fold as the API tells it, newest first."""
        told = list(self.facts)
        if self._views and self._views[0] == told:
            return self._views[1]
        stages: dict[str, list[dict[str, Any]]] = {}
        for row in frames.timeline_frame(told).to_dict("records"):
            stage = {"name": row["stage"], "at_ms": row["start_ms"], "tx": row["tx"]}
            stage |= {k: None if pd.isna(row[k]) else int(row[k]) for k in ("block", "gas")}
            stages.setdefault(row["subject"], []).append(stage)
        views = []
        for row in frames.settlements_frame(told).to_dict("records"):
            view = {k: row[k] for k in ("state", "status", "buyer", "seller", "reason")}
            for name in ("asset_amount", "required_usdc", "max_eurc", "eurc_spent"):
                view[name] = None if row[name] is None else str(row[name])
            view |= {"settlement_id": row["id"], "final": row["state"] == "delivered"}
            views.append({**view, "stages": stages[row["id"]]})
        self._views = told, views[::-1]
        return self._views[1]

    # --- Inside -----------------------------------------------------------------------------------

    def _do(self, act: Callable[[], None]) -> None:
        async def run() -> None:
            act()

        asyncio.run_coroutine_threadsafe(run(), self._loop).result(5)

    def _listen(self) -> None:
        routes = [(r"/events/stream", _Stream), (r"/.*", _Answer)]
        app = Application(
            [(path, kind, {"fake": self}) for path, kind in routes], log_function=lambda _: None
        )
        self._server = HTTPServer(app)
        sockets = bind_sockets(0, "127.0.0.1")
        self._server.add_sockets(sockets)
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}/"

    async def _close(self) -> None:
        self._server.stop()
        await self._server.close_all_connections()
        await asyncio.sleep(0)

    def _push(self, message: str | None) -> None:
        for queue in self._streams:
            queue.put_nowait(message)

    def _message(self, seq: int, fact: ev.Event) -> str:
        return f"id: {seq}\ndata: {json.dumps({**ev.to_dict(fact), 'seq': seq})}\n\n"


class _Answer(RequestHandler):
    def initialize(self, fake: FakeTracker) -> None:
        self._fake = fake

    def get(self) -> None:
        fake, path = self._fake, self.request.path
        fake.asked.append(self.request.uri or path)
        if fake.refusing:
            self.set_status(503)
        elif path == "/":
            self.set_header("Content-Type", "text/html; charset=utf-8")
            self.write(PAGE.read_bytes())
        elif path == "/api/lifecycle":
            self.write(lifecycle.to_json())
        elif path == "/api/settlements":
            self.write(
                {"settlements": fake.settlements(), "head": fake.head, "seq": len(fake.facts)}
            )
        else:
            views = {f"/api/settlements/{v['settlement_id']}": v for v in fake.settlements()}
            self.set_status(200 if path in views else 404)
            self.write(views.get(path, {"error": "not_found", "message": "nothing there."}))


class _Stream(RequestHandler):
    def initialize(self, fake: FakeTracker) -> None:
        self._fake = fake

    async def get(self) -> None:
        fake = self._fake
        fake.asked.append(self.request.uri or "")
        if fake.refusing:
            self.set_status(503)
            return
        after = int(self.request.headers.get("Last-Event-ID") or self.get_argument("after", "0"))
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.set_header("Content-Type", "text/event-stream")
        fake._streams.add(queue)
        try:
            self.write("retry: 100\n\n")
            for seq, fact in list(enumerate(fake.facts, 1))[after:]:
                self.write(fake._message(seq, fact))
            await self.flush()
            while (message := await queue.get()) is not None:
                self.write(message)
                await self.flush()
        except StreamClosedError:
            pass
        finally:
            fake._streams.discard(queue)
