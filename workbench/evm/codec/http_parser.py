"""HTTP/1.1 answers out of bytes, by httptools (llhttp, Node.js's parser).

One parser reads all answers of one connection, in order, however many come at once.
"""

from __future__ import annotations

from collections import deque
from email.utils import parsedate_to_datetime
from typing import NamedTuple

import httptools

MAX_HEAD_BYTES = 65_536
MAX_BODY_BYTES = 1 << 28
"""256 MiB: more than the largest dump of a world's state."""
RECEIVE_BYTES = 1 << 18
SWITCHING = 101


class InvalidHttp(Exception):
    """What came is no HTTP answer, or is too large. The text says which."""


class HttpAnswer(NamedTuple):
    """`is_last`: the connection ends with it."""

    status: int
    body: bytes
    is_last: bool = False
    retry_after_s: int | None = None


class HttpAnswerParser:
    """Feed it what a connection says, and take answers from `ready`.

    Informational answers (1xx) are passed over. 204 and 304 have no body (RFC 9112 section 6.3). An
    answer without a length ends with the connection: see `finish`.
    """

    def __init__(self) -> None:
        self.ready: deque[HttpAnswer] = deque()
        self.is_begun = False
        """Whether a part of an answer that is not complete has come."""
        self._fields: dict[bytes, bytes] = {}
        self._parts: list[bytes] = []
        self._has_head = False
        self._pending = 0
        self._error = ""
        # httptools calls these by name; those of C take no time of ours.
        self.on_header = self._fields.__setitem__
        self.on_body = self._parts.append
        self._parser = httptools.HttpResponseParser(self)

    @property
    def status(self) -> int:
        """Of the answer that is being read, or of the last one."""
        return int(self._parser.get_status_code())

    def feed(self, data: bytes) -> None:
        """Bytes as they came. Raises NotHttp once no complete answer is left to be taken."""
        self.is_begun = True
        self._pending += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._error = "it switches to another protocol"
        except httptools.HttpParserError as why:
            said = str(why).rstrip(".") or type(why).__name__
            self._error = self._error or f"its answer is not HTTP ({said[:60]})"
        if self._pending > MAX_HEAD_BYTES:
            self._require_bounded()
        if self._error and not self.ready:
            raise InvalidHttp(self._error)

    def _require_bounded(self) -> None:
        if not self._has_head:
            self._error = self._error or "the head of its answer is too large"
        elif self._pending > MAX_BODY_BYTES:
            self._error = self._error or "its answer is too large"
            self._parts.clear()

    def finish(self) -> None:
        """The connection has ended: an answer without a length is complete. Raises NotHttp."""
        if self._error:
            raise InvalidHttp(self._error)
        named = {name.lower() for name in self._fields}
        if not self._has_head or named & {b"content-length", b"transfer-encoding"}:
            raise InvalidHttp("it closed the connection without a whole answer")
        self.on_message_complete()

    # --- Called by httptools ---

    def on_headers_complete(self) -> None:
        self._has_head = True

    def on_message_complete(self) -> None:
        status: int = self._parser.get_status_code()
        if status >= 200:
            parts = self._parts
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            later = None if status == 200 else retry_after(self._fields)
            is_last = not self._parser.should_keep_alive()
            self.ready.append(HttpAnswer(status, body, is_last, later))
        self._fields.clear()
        self._parts.clear()
        self._has_head = self.is_begun = False
        self._pending = 0


def retry_after(fields: dict[bytes, bytes]) -> int | None:
    """Seconds that Retry-After asks to wait: a number, or a date against the answer's own Date.

    None where there is none that can be read (RFC 9110 section 10.2.3).
    """
    named = {name.lower(): value.decode("latin-1").strip() for name, value in fields.items()}
    text = named.get(b"retry-after", "")
    if text.isascii() and text.isdigit():
        return min(int(text[:9]), 86_400)
    try:
        late = parsedate_to_datetime(text) - parsedate_to_datetime(named.get(b"date", ""))
    except (TypeError, ValueError):  # None, or a date with a zone and one without.
        return None
    return min(max(0, int(late.total_seconds())), 86_400)
