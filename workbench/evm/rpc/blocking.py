"""The blocking client of a node, on one keep-alive connection."""

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
from workbench.evm.rpc.client import RETRY_PAUSES_S, TIMEOUT_S, Rpc, pause_after
from workbench.evm.rpc.node_url import NodeUrl, failure_text, parse_node_url, unreachable
from workbench.evm.rpc.pipeline import acknowledge_at_once
from workbench.evm.rpc.proxies import Proxy, proxy_for
from workbench.evm.rpc.requests import (
    complete_request,
    is_complete_head,
    request_head,
    require_tunnel,
    tunnel_request,
)

WRITE_AHEAD = 16
"""How many requests are written before their answers are read. Few enough for all buffers."""
OUT_OF_STEP = "an answer was to another request"


class BrokenConnection(Exception):
    """The connection gave no answer. `unused`: the node certainly did not see the request."""

    def __init__(self, why: str, *, unused: bool = False) -> None:
        super().__init__(why)
        self.unused = unused


class Connection:
    """A keep-alive HTTP/1.1 connection with the part of HTTP that JSON-RPC needs.

    Its methods raise OSError or BrokenConnection.
    """

    def __init__(self, node: NodeUrl, proxy: Proxy | None = None) -> None:
        self._socket = _open_socket(node, proxy)
        self._ready = select.poll()
        self._ready.register(self._socket, select.POLLIN)
        self._parser = HttpAnswerParser()
        self.used = False
        """Whether an answer was read since the caller last reset this."""
        self.idle_work: Callable[[], bool] | None = None
        """Called while no data has arrived: does a piece of other work, or returns False if there
        is none. Not over TLS."""

    def write(self, requests: bytes) -> None:
        """Write requests; block while the buffers are full."""
        self._socket.sendall(requests)

    def write_ahead(self, requests: bytes) -> None:
        """Write requests, however many answers are unread: while the buffers are full, read.

        Not over TLS.
        """
        left = memoryview(requests)
        with suppress(BlockingIOError):  # The usual case: there is space for all of it.
            left = left[self._socket.send(left, socket.MSG_DONTWAIT) :]
        if not left:
            return
        ready = select.poll()
        ready.register(self._socket, select.POLLIN | select.POLLOUT)
        while left:
            events = ready.poll(TIMEOUT_S * 1000)
            if not events:
                raise TimeoutError("it does not read requests")
            if events[0][1] & select.POLLOUT:
                left = left[self._socket.send(left) :]
            else:
                self._receive()

    @property
    def stale(self) -> bool:
        """Whether there is something to read.

        If no answer is expected, the other side has closed the connection.
        """
        return self.closed or bool(self._ready.poll(0))

    def read(self) -> HttpAnswer:
        """Return the next answer."""
        parser = self._parser
        while not parser.ready:
            self._receive()
        self.used = True
        answer = parser.ready.popleft()
        if answer.is_last:
            self.close()
        return answer

    def _receive(self) -> None:
        """Read some bytes and parse them."""
        acknowledge_at_once(self._socket)  # The system resets this option.
        while self.idle_work is not None and not self.stale and self.idle_work():
            pass
        data = self._socket.recv(RECEIVE_BYTES)
        unused = not self.used and not self._parser.is_begun
        try:
            if data:
                self._parser.feed(data)
            else:
                self._parser.finish()
        except InvalidHttp as why:
            raise BrokenConnection(str(why), unused=unused and not data) from why

    @property
    def closed(self) -> bool:
        """Whether this side has closed it."""
        return self._socket.fileno() < 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _open_socket(node: NodeUrl, proxy: Proxy | None) -> socket.socket:
    """Connect to the node, or through a proxy. Raises OSError or BrokenConnection."""
    host, port = (proxy.host, proxy.port) if proxy else (node.host, node.port)
    try:
        plain = socket.create_connection((host, port), timeout=TIMEOUT_S)
    except OSError as why:
        if proxy:
            raise BrokenConnection(f"at the proxy {proxy.shown}: {failure_text(why)}") from why
        raise
    try:
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not node.is_secure:
            return plain
        if proxy:
            _open_tunnel(plain, node, proxy)
        context = ssl.create_default_context()
        return context.wrap_socket(plain, server_hostname=node.host)
    except BaseException:
        plain.close()
        raise


def _open_tunnel(plain: socket.socket, node: NodeUrl, proxy: Proxy) -> None:
    plain.sendall(tunnel_request(node, proxy))
    head = b""
    try:
        while not is_complete_head(head):
            data = plain.recv(RECEIVE_BYTES)
            if not data:
                raise BrokenConnection(f"the proxy {proxy.shown} closed the connection")
            head += data
        require_tunnel(proxy, head)
    except InvalidHttp as why:
        raise BrokenConnection(str(why)) from why


class BlockingRpc(Rpc):
    """A blocking client; `now` and `all_now` are `call` and `many` without `await`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._node, self._proxy = parse_node_url(url), proxy_for(url)
        self._shown = self._node.shown
        self._head = request_head(self._node, self._proxy)
        self._ahead = WRITE_AHEAD if self._proxy is None else 1
        self._ids = itertools.count(1)
        self._connection: Connection | None = None

    async def call(self, method: str, *params: Any) -> Any:
        return self.now(method, *params)

    async def many(self, calls: Sequence[RpcCall]) -> list[Any]:
        return self.all_now(calls)

    def now(self, method: str, *params: Any) -> Any:
        """See `Rpc.call`."""
        (answer,) = self.all_now([(method, *params)])
        if isinstance(answer, WorkbenchError):
            raise answer
        return answer

    def all_now(self, calls: Sequence[RpcCall]) -> list[Any]:
        """See `Rpc.many`. The node executes the first calls while others are still being written.

        Reads that the node refused because it limits requests are repeated after a pause.
        """
        results = self._exchange(calls)
        for pause_s in RETRY_PAUSES_S:
            limited = [n for n, each in enumerate(results) if isinstance(each, RpcLimited)]
            again = [n for n in limited if calls[n][0] in REPEATABLE]
            pauses = [pause_after(results[n], pause_s) for n in again]
            if not again or None in pauses:
                break
            time.sleep(max(pause for pause in pauses if pause is not None))
            for n, result in zip(again, self._exchange([calls[n] for n in again]), strict=True):
                results[n] = result
        return results

    def _exchange(self, calls: Sequence[RpcCall]) -> list[Any]:
        """Return each call's result or error.

        Calls without an answer are not repeated when the connection breaks: the node may already
        have mined a block, and would mine another one.
        """
        first, requests = self._requests(calls)
        results: list[Any] = []
        while len(results) < len(requests):
            is_reused = self._connection is not None
            try:
                self._write_and_read(first, calls, requests, results)
            except (OSError, BrokenConnection) as why:
                self._drop()
                # The node may have closed an idle connection: try once on a new one.
                was_idle = isinstance(why, ConnectionError) or (
                    isinstance(why, BrokenConnection) and why.unused
                )
                if is_reused and was_idle and not results:
                    continue
                results += [unreachable(self._shown, why)] * (len(requests) - len(results))
        return results

    def _write_and_read(
        self, first: int, calls: Sequence[RpcCall], requests: list[bytes], results: list[Any]
    ) -> None:
        """Append answers to `results`. At most two chunks of requests wait for their answers, so
        the node always has work."""
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
                raise BrokenConnection(OUT_OF_STEP)
            if connection.closed:
                self._connection = None
                if len(results) < len(requests):
                    raise BrokenConnection("it closed the connection before all was answered")

    def _connect(self) -> Connection:
        return Connection(self._node, self._proxy)

    def _requests(self, calls: Sequence[RpcCall]) -> tuple[int, list[bytes]]:
        """Return the first request's id and all requests; their ids are consecutive."""
        numbers = [next(self._ids) for _ in calls]
        head = self._head
        requests = [
            complete_request(head, jsonrpc.request(number, call[0], call[1:]))
            for number, call in zip(numbers, calls, strict=True)
        ]
        return (numbers[0] if numbers else 0), requests

    def _result(self, number: int, call: RpcCall, answer: HttpAnswer) -> Any:
        """Return the result, or the error, in the answer to the request with this id."""
        return result_or_error(self._shown, number, call, answer)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    async def close(self) -> None:
        self._drop()
