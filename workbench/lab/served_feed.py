"""The facts of a served tracker, read page by page over HTTP."""

from __future__ import annotations

import http.client
import json
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from workbench.core.errors import InvalidSetting, PeerUnreachable, StoreError
from workbench.core.facts import Event, from_dict
from workbench.core.lanes.model import Lanes
from workbench.lab.feeds import LIVE_TICK_S, Feed
from workbench.lab.states import SourceSetup, SourceState, SourceText, text_of

TIMEOUT_S = 5.0
POLL_S = 0.5
MOST_WAIT_S = 8.0
"""Longest wait after repeated failures. Retries come after 0.5, 1, 2, 4, then 8 seconds."""
MOST_BYTES = 64 * 2**20
CONNECTING = "Connecting to the tracker"


class ServedFeed(Feed):
    """A tracker at an http or https address. Raises InvalidSetting for another address.

    The time axis ends at the wall clock while a settlement is open, else at the last fact.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S, poll_s: float = POLL_S) -> None:
        super().__init__(SourceSetup(subtitle=url), with_blocks=True)
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InvalidSetting(f"{url!r} is not the address of a tracker.")
        self.url = url.rstrip("/")
        self._parts, self._timeout_s, self._poll_s = parts, timeout_s, poll_s
        self._after = 0
        self._is_known = False
        self._error: SourceText | None = None
        self._fresh: Lanes | None = None
        self.thread = threading.Thread(target=self._gather, name="tracker feed", daemon=True)

    def start(self) -> None:
        self.thread.start()

    @property
    def is_over(self) -> bool:
        return False

    @property
    def tick_s(self) -> float | None:
        return 5 * LIVE_TICK_S

    def fold(self) -> bool:
        with self._news:
            fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self.lanes = fresh
        return super().fold() or fresh is not None

    def state(self) -> SourceState:
        lanes, error = self.lanes, self._error
        if error is not None:
            state, word = "broken", "No answer"
        elif self._is_known:
            state, word = "live", "Live"
        else:
            state, word = "loading", "Connecting"
        return SourceState(
            state=state,
            word=word,
            now_ms=self._now_ms() - self.origin_ms if lanes.count else 0,
            block=lanes.block,
            progress_text=CONNECTING if state == "loading" else "",
            empty=SourceText(CONNECTING, self.url) if state == "loading" else None,
            error=error,
        )

    def _now_ms(self) -> int:
        last_ms = self.lanes.last_ms or 0
        if any(lane.end_ms is None for lane in self.lanes):
            return max(last_ms, time.time_ns() // 1_000_000)
        return last_ms

    # --- In its own thread ---

    def _gather(self) -> None:
        """Read pages until the feed is closed."""
        failures = 0
        while not self.is_closed:
            try:
                is_more = self._page()
                failures = 0
            except (PeerUnreachable, StoreError) as why:
                failures += 1
                wait_s = min(MOST_WAIT_S, self._poll_s * 2 ** min(failures - 1, 10))
                self._tell_error(why, wait_s)
                is_more = False
            if not is_more and self.pause(wait_s if failures else self._poll_s):
                return

    def _tell_error(self, why: PeerUnreachable | StoreError, wait_s: float) -> None:
        told = text_of(why)
        again = f"It is asked again in {wait_s:g} s."
        self._error = SourceText(told.title, f"{told.text} {again}".strip())
        self.push()

    def _page(self) -> bool:
        """Read one page of facts. Return True if there are more."""
        page = self._get(f"/events?after={self._after}")
        try:
            facts = tuple(_fact(each) for each in page["events"])
            after, last = int(page["next"]), int(page["last"])
        except (KeyError, TypeError, ValueError, AttributeError) as why:
            raise PeerUnreachable(
                f"{self.url} answers, and not as a tracker does.",
                hint="Give the address that `workbench up` tells.",
            ) from why
        was_broken, self._error = self._error is not None, None
        was_known, self._is_known = self._is_known, True
        if last < self._after:
            # Another journal is there now: the lanes are of a chain that is gone.
            self._after = 0
            with self._news:
                self._pending.clear()
                self._fresh = Lanes(with_blocks=True)
            self.push()
            return True
        self._after = after
        if facts or was_broken or not was_known:
            self.push(facts)
        return after < last

    def _get(self, path: str) -> Any:
        """Return the JSON of a path. Raises PeerUnreachable."""
        parts = self._parts
        kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        assert parts.hostname is not None
        try:
            connection = kinds[parts.scheme](parts.hostname, parts.port, timeout=self._timeout_s)
            try:
                connection.request("GET", f"{parts.path.rstrip('/')}{path}")
                answer = connection.getresponse()
                body = answer.read(MOST_BYTES)
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, ValueError) as why:
            said = getattr(why, "strerror", None) or str(why) or type(why).__name__
            raise PeerUnreachable(
                f"The tracker at {self.url} does not answer: {said}.",
                hint="Is it running? `workbench up` starts everything.",
            ) from why
        if answer.status != 200:
            raise PeerUnreachable(f"The tracker at {self.url} answers with HTTP {answer.status}.")
        try:
            return json.loads(body)
        except ValueError as why:
            raise PeerUnreachable(f"{self.url} answers, and not as a tracker does.") from why


def _fact(data: dict[str, Any]) -> Event:
    return from_dict({name: value for name, value in data.items() if name != "seq"})
