"""A node that is spoken to without waiting for others: blocking, on one kept connection."""

from __future__ import annotations

import itertools
import select
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from workbench.core.errors import RpcLimited, WorkbenchError
from workbench.evm.codec import jsonrpc
from workbench.evm.codec.consistency import RpcCall
from workbench.evm.codec.http_parser import RECEIVE_BYTES, HttpAnswer, HttpAnswerParser, InvalidHttp
from workbench.evm.codec.methods import REPEATABLE
from workbench.evm.rpc.answers import result_or_error
from workbench.evm.rpc.client import PAUSES_S, TIMEOUT_S, Rpc, pause_after
from workbench.evm.rpc.node_url import NodeUrl, place_of, plain_words, unreachable
from workbench.evm.rpc.pipeline import acknowledge_at_once
from workbench.evm.rpc.proxies import Proxy, proxy_for
from workbench.evm.rpc.requests import (
    is_tunnel_head,
    request_head,
    require_tunnel,
    tunnel_request,
    whole,
)

AHEAD = 16
"""So many requests are written before their answers are read: neither side's buffers can fill."""
TORN = "an answer was to another request"


class BrokenConnection(Exception):
    """The connection gave no answer. `unused`: the node has surely not seen the request."""

    def __init__(self, why: str, *, unused: bool = False) -> None:
        super().__init__(why)
        self.unused = unused


class Connection:
    """HTTP/1.1 kept alive, as little of it as JSON-RPC needs. Raises OSError or Broken."""

    def __init__(self, place: NodeUrl, proxy: Proxy | None = None) -> None:
        self._socket = _opened(place, proxy)
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN)
        self._parser = HttpAnswerParser()
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
                self._take_in()

    @property
    def stale(self) -> bool:
        """Whether the other side has closed it, where no answer is on its way; else one is here."""
        return self.closed or bool(self._ready.poll(0))

    def read(self) -> HttpAnswer:
        """The next answer. Raises OSError or Broken."""
        parser = self._parser
        while not parser.ready:
            self._take_in()
        self.used = True
        answer = parser.ready.popleft()
        if answer.is_last:
            self.close()
        return answer

    def _take_in(self) -> None:
        """More of what the node says."""
        acknowledge_at_once(self._socket)  # The system forgets it by and by.
        got = self._received()
        unused = not self.used and not self._parser.is_begun
        try:
            if got:
                self._parser.feed(got)
            else:
                self._parser.finish()
        except InvalidHttp as why:
            raise BrokenConnection(str(why), unused=unused and not got) from why

    def _received(self) -> bytes:
        while self.meanwhile is not None and not self.stale and self.meanwhile():
            pass
        return self._socket.recv(RECEIVE_BYTES)

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        self._socket.close()


def _opened(place: NodeUrl, proxy: Proxy | None) -> socket.socket:
    """A connection to the place, or to its proxy. Raises OSError or Broken."""
    nearest = (proxy.host, proxy.port) if proxy else (place.host, place.port)
    try:
        plain = socket.create_connection(nearest, timeout=TIMEOUT_S)
    except OSError as why:
        if proxy:
            raise BrokenConnection(f"at the proxy {proxy.shown}: {plain_words(why)}") from why
        raise
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not place.is_secure:
            return plain
        if proxy:
            _tunnel(plain, place, proxy)
        context = ssl.create_default_context()
        return context.wrap_socket(plain, server_hostname=place.host)
    except BaseException:
        plain.close()
        raise


def _tunnel(plain: socket.socket, place: NodeUrl, proxy: Proxy) -> None:
    plain.sendall(tunnel_request(place, proxy))
    said = b""
    try:
        while not is_tunnel_head(said):
            got = plain.recv(RECEIVE_BYTES)
            if not got:
                raise BrokenConnection(f"the proxy {proxy.shown} closed the connection")
            said += got
        require_tunnel(proxy, said)
    except InvalidHttp as why:
        raise BrokenConnection(str(why)) from why


class BlockingRpc(Rpc):
    """Blocking, on one kept connection; `now` and `all_now` are the same without `await`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._place, self._proxy = place_of(url), proxy_for(url)
        self._shown = self._place.shown
        self._head = request_head(self._place, self._proxy)
        self._ahead = AHEAD if self._proxy is None else 1
        self._ids = itertools.count(1)
        self._connection: Connection | None = None

    async def call(self, method: str, *params: Any) -> Any:
        return self.now(method, *params)

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        return self.all_now(calls)

    def now(self, method: str, *params: Any) -> Any:
        (answer,) = self.all_now([(method, *params)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    def _connect(self) -> Connection:
        return Connection(self._place, self._proxy)

    def all_now(self, calls: Sequence[RpcCall]) -> list[Any]:
        """See `Rpc.many`. The node works on some while others are still being written.

        Reads that a node has refused because of their number are asked again, after a while.
        """
        results = self._exchange(calls)
        for pause_s in PAUSES_S:
            limited = [n for n, each in enumerate(results) if isinstance(each, RpcLimited)]
            again = [n for n in limited if calls[n][0] in REPEATABLE]
            waits = [pause_after(results[n], pause_s) for n in again]
            if not again or None in waits:
                break
            time.sleep(max(wait for wait in waits if wait is not None))
            for n, result in zip(again, self._exchange([calls[n] for n in again]), strict=True):
                results[n] = result
        return results

    def _result(self, number: int, call: RpcCall, answer: HttpAnswer) -> Any:
        """What was answered to the request with this id, or the error that it was."""
        return result_or_error(self._shown, number, call, answer)

    def _requests(self, calls: Sequence[RpcCall]) -> tuple[int, list[bytes]]:
        """Requests, and the first one's id: they count on."""
        numbers = [next(self._ids) for _ in calls]
        head = self._head
        requests = [
            whole(head, jsonrpc.request(number, call[0], call[1:]))
            for number, call in zip(numbers, calls, strict=True)
        ]
        return (numbers[0] if numbers else 0), requests

    def _exchange(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Each call's result or error, in order. Calls that a broken connection leaves open are not
        asked again: the node may have mined already, and would mine once more."""
        first, requests = self._requests(calls)
        results: list[Any] = []
        while len(results) < len(requests):
            kept = self._connection is not None
            try:
                self._converse(first, calls, requests, results)
            except (OSError, BrokenConnection) as why:
                self._drop()
                # A kept connection may have been closed while idle: one fresh try.
                idle = isinstance(why, ConnectionError) or (
                    isinstance(why, BrokenConnection) and why.unused
                )
                if kept and idle and not results:
                    continue
                results += [unreachable(self._shown, why)] * (len(requests) - len(results))
        return results

    def _converse(
        self, first: int, calls: Sequence[RpcCall], requests: list[bytes], results: list[Any]
    ) -> None:
        """Write ahead of reading by two chunks at most, so that the node never waits for us."""
        if self._connection is None:
            self._connection = self._connect()
        connection, written, ahead = self._connection, len(results), self._ahead
        connection.used = False
        while len(results) < len(requests):
            if written < len(requests) and written - len(results) <= ahead:
                connection.write(b"".join(requests[written : written + ahead]))
                written = min(written + ahead, len(requests))
            place = len(results)
            results.append(self._result(first + place, calls[place], connection.read()))
            if jsonrpc.is_truncated(results[-1]):
                raise BrokenConnection(TORN)
            if connection.closed:
                self._connection = None
                if len(results) < len(requests):
                    raise BrokenConnection("it closed the connection before all was answered")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self._drop()
