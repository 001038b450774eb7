"""A node that is spoken to without waiting for others: blocking, on one kept connection."""

from __future__ import annotations

import itertools
import select
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from workbench.chain.pipe import acknowledge_at_once, request_head
from workbench.chain.rpc import (
    TIMEOUT_S,
    Call,
    Rpc,
    request_body,
    result_of,
    result_or_error,
    unreachable,
)
from workbench.core.errors import WorkbenchError

MAX_HEAD_BYTES = 65_536
AHEAD = 16
"""So many requests are written before their answers are read: neither side's buffers can fill."""


class Broken(Exception):
    """The connection gave no answer. `unused`: the node has surely not seen the request."""

    def __init__(self, why: str, *, unused: bool = False) -> None:
        super().__init__(why)
        self.unused = unused


class Connection:
    """HTTP/1.1 kept alive, as little of it as JSON-RPC needs: a fifth of http.client's time."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        port = parts.port or (443 if secure else 80)
        place = (parts.hostname or "", port)
        plain = socket.create_connection(place, timeout=TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = plain
        if secure:
            context = ssl.create_default_context()
            self._socket = context.wrap_socket(plain, server_hostname=place[0])
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN)
        self._left = b""
        self.used = False
        self.meanwhile: Callable[[], bool] | None = None
        """Some of what there is to do while nothing has come; False if there is nothing. Not over
        TLS."""

    def write(self, requests: bytes) -> None:
        self._socket.sendall(requests)

    def write_ahead(self, requests: bytes) -> None:
        """Write, however many answers were not read yet: where neither side would go on, we take
        in what the node says. Not over TLS. Raises OSError or Broken."""
        left = memoryview(requests)
        with suppress(BlockingIOError):  # As nearly always: there is room for all of it.
            left = left[self._socket.send(left, socket.MSG_DONTWAIT) :]
        if not left:
            return
        ready = select.poll()
        ready.register(self._socket, select.POLLIN | select.POLLOUT)
        while left:
            events = ready.poll(TIMEOUT_S * 1000)
            if not events:
                raise TimeoutError("it takes nothing in")
            if events[0][1] & select.POLLOUT:
                left = left[self._socket.send(left) :]
            else:
                self._left += self._more()

    @property
    def stale(self) -> bool:
        """Whether the other side has closed it, where no answer is on its way; else one is here."""
        return self.closed or bool(self._ready.poll(0))

    def read(self) -> bytes:
        """The next answer's body. Raises OSError or Broken."""
        head = self._until(b"\r\n\r\n")
        self.used = True
        status, fields = _parse_head(head)
        if status == 100:
            return self.read()
        if "chunked" in fields.get(b"transfer-encoding", b"").lower().decode("latin-1"):
            body = self._chunks()
        elif b"content-length" in fields:
            body = self._exactly(_number(fields[b"content-length"], 10))
        else:
            body = self._rest()
        if fields.get(b"connection", b"").lower() == b"close":
            self.close()
        return body

    def _more(self) -> bytes:
        acknowledge_at_once(self._socket)  # The system forgets it by and by.
        got = self._received()
        if not got:
            unused = not self.used and not self._left
            raise Broken("it closed the connection without an answer", unused=unused)
        return got

    def _received(self) -> bytes:
        while self.meanwhile is not None and not self.stale and self.meanwhile():
            pass
        return self._socket.recv(1 << 18)

    def _until(self, end: bytes) -> bytes:
        while (found := self._left.find(end)) < 0:
            if len(self._left) > MAX_HEAD_BYTES:
                raise Broken("its answer has no end of headers")
            self._left += self._more()
        head, self._left = self._left[:found], self._left[found + len(end) :]
        return head

    def _exactly(self, size: int) -> bytes:
        if len(self._left) < size:
            parts, missing = [self._left], size - len(self._left)
            while missing > 0:
                parts.append(self._more())
                missing -= len(parts[-1])
            self._left = b"".join(parts)
        body, self._left = self._left[:size], self._left[size:]
        return body

    def _chunks(self) -> bytes:
        body = b""
        while size := _number(self._until(b"\r\n").partition(b";")[0], 16):
            body += self._exactly(size)
            self._until(b"\r\n")
        while self._until(b"\r\n"):
            pass  # Trailers.
        return body

    def _rest(self) -> bytes:
        body, self._left = self._left, b""
        while got := self._socket.recv(1 << 18):
            body += got
        self.close()
        return body

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        self._socket.close()


@lru_cache(256)
def _parse_head(head: bytes) -> tuple[int, Mapping[bytes, bytes]]:
    """Status, and fields by lower name. A node's heads are alike but for size and second."""
    first, *lines = head.split(b"\r\n")
    words = first.split(None, 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1") or not words[1].isdigit():
        raise Broken("it does not speak HTTP")
    named = (line.partition(b":") for line in lines)
    fields = {name.strip().lower(): value.strip() for name, _, value in named}
    return int(words[1]), MappingProxyType(fields)


def _number(text: bytes, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise Broken("its answer is not HTTP") from None


class DirectRpc(Rpc):
    """Blocking, on one kept connection; `now` and `all_now` are the same without `await`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._head = request_head(url)
        self._ids = itertools.count(1)
        self._connection: Connection | None = None

    async def call(self, method: str, *params: Any) -> Any:
        return self.now(method, *params)

    async def many(self, calls: Sequence[Call]) -> list[Any]:
        return self.all_now(calls)

    def now(self, method: str, *params: Any) -> Any:
        (raw,) = self._exchange([(method, *params)])
        if isinstance(raw, WorkbenchError):
            raise raw
        return result_of(self.url, method, raw)

    def _connect(self) -> Connection:
        return Connection(self.url)

    def all_now(self, calls: Sequence[Call]) -> list[Any]:
        """See `Rpc.many`. The node works on some while others are still being written."""
        answers = self._exchange(calls)
        return [self._result(each[0], raw) for each, raw in zip(calls, answers, strict=True)]

    def _result(self, method: str, raw: bytes | WorkbenchError) -> Any:
        return raw if isinstance(raw, WorkbenchError) else result_or_error(self.url, method, raw)

    def _requests(self, calls: Sequence[Call]) -> list[bytes]:
        bodies = [request_body(next(self._ids), each[0], each[1:]) for each in calls]
        return [b"%b%d\r\n\r\n%b" % (self._head, len(body), body) for body in bodies]

    def _exchange(self, calls: Sequence[Call]) -> list[bytes | WorkbenchError]:
        """Each call's answer, in order. Calls that a broken connection leaves open are not asked
        again: the node may have mined already, and would mine once more."""
        requests = self._requests(calls)
        answers: list[bytes | WorkbenchError] = []
        while len(answers) < len(requests):
            kept = self._connection is not None
            try:
                self._converse(requests, answers)
            except (OSError, Broken) as why:
                self._drop()
                # A kept connection may have been closed while idle: one fresh try.
                idle = isinstance(why, ConnectionError) or (isinstance(why, Broken) and why.unused)
                if kept and idle and not answers:
                    continue
                lost = unreachable(self.url, str(why) or type(why).__name__)
                answers += [lost] * (len(requests) - len(answers))
        return answers

    def _converse(self, requests: list[bytes], answers: list[bytes | WorkbenchError]) -> None:
        """Write ahead of reading by two chunks at most, so that the node never waits for us."""
        if self._connection is None:
            self._connection = self._connect()
        connection, written = self._connection, len(answers)
        connection.used = False
        while len(answers) < len(requests):
            if written < len(requests) and written - len(answers) <= AHEAD:
                connection.write(b"".join(requests[written : written + AHEAD]))
                written = min(written + AHEAD, len(requests))
            answers.append(connection.read())
            if connection.closed:
                self._connection = None
                if len(answers) < len(requests):
                    raise Broken("it closed the connection before all was answered")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self._drop()
