"""Sends in a row on one connection: in order, and nobody's outcome is guessed."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from workbench.core.errors import RpcFault, RpcUnreachable
from workbench.evm.rpc import pipeline
from workbench.evm.rpc.client import SEND, HttpRpc

Answer = Callable[[int, dict[str, Any]], bytes | None]


def plain(body: bytes, more: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\n%bContent-Length: %d\r\n\r\n%b" % (more, len(body), body)


def result(asked: dict[str, Any]) -> bytes:
    said = {"jsonrpc": "2.0", "id": asked["id"], "result": asked["params"][0]}
    return json.dumps(said).encode()


class Node:
    """Answers each request with what `answer(number, asked)` says; None: it hangs up."""

    def __init__(self, answer: Answer, *, keeps_back: bool = False) -> None:
        self.answer, self.connections = answer, 0
        self.keeps_back = keeps_back
        """Whether small answers wait for the one before them to be acknowledged (Nagle)."""
        self.seen: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.keeps_back:  # As anvil does.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                asked = json.loads(await reader.readexactly(length))
                self.seen.append(asked["params"][0])
                told = self.answer(len(self.seen), asked)
                if told is None:
                    break
                writer.write(told)
        except (EOFError, OSError):
            pass
        writer.close()


def within(
    answer: Answer, work: Callable[[HttpRpc, Node], Awaitable[None]], *, keeps_back: bool = False
) -> None:
    async def run() -> None:
        node = Node(answer, keeps_back=keeps_back)
        server = await asyncio.start_server(node.serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        rpc = HttpRpc(f"http://127.0.0.1:{port}")
        try:
            await asyncio.wait_for(work(rpc, node), 20)
        finally:
            await rpc.close()
            server.close()

    asyncio.run(run())


def sends(count: int, first: int = 0) -> list[tuple[str, str]]:
    return [(SEND, raw_of(n)) for n in range(first, first + count)]


def raw_of(n: int) -> str:
    """Of the form of a hash, so that a node may answer with it."""
    return f"0x{n:064x}"


def test_in_order_on_one_connection() -> None:
    """Many more than are written ahead; a refusal is that one's own."""

    def answer(number: int, asked: dict[str, Any]) -> bytes:
        if number == 3:
            return plain(
                json.dumps({"id": asked["id"], "error": {"message": "nonce too low"}}).encode()
            )
        return plain(result(asked))

    async def work(rpc: HttpRpc, node: Node) -> None:
        asked = sends(100)
        told = await rpc.many(asked)
        assert [raw for _, raw in asked] == node.seen
        assert isinstance(told[2], RpcFault)
        assert [raw for _, raw in asked[3:]] == told[3:]
        assert sends(5, 100) == [(SEND, raw) for raw in await rpc.many(sends(5, 100))]
        assert 1 == node.connections

    within(answer, work)


def test_where_it_breaks_nobody_knows_what_became_of_the_rest() -> None:
    """They are not sent again here: that is for who stored them. The next ones have a new line."""

    async def work(rpc: HttpRpc, node: Node) -> None:
        told = await rpc.many(sends(10))
        assert [raw_of(n) for n in range(4)] == told[:4]
        assert all(isinstance(each, RpcUnreachable) for each in told[4:])
        assert 6 == len(told[4:])
        assert [raw_of(20), raw_of(21)] == await rpc.many(sends(2, 20))
        assert 2 == node.connections

    within(lambda number, asked: None if number == 5 else plain(result(asked)), work)


def test_other_ways_to_answer() -> None:
    """In chunks, without a length, after a 100, or the last one of its connection."""

    def answer(number: int, asked: dict[str, Any]) -> bytes | None:
        body = result(asked)
        if number == 1:
            half = len(body) // 2
            parts = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:half], body[half:]))
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
        if number == 2:
            return b"HTTP/1.1 100 Continue\r\n\r\n" + plain(body)
        return plain(body, b"Connection: close\r\n")

    async def work(rpc: HttpRpc, node: Node) -> None:
        told = await rpc.many(sends(4))
        assert [raw_of(n) for n in range(3)] == told[:3]
        assert isinstance(told[3], RpcUnreachable)

    within(answer, work)


def test_what_is_no_http_is_no_answer() -> None:
    async def work(rpc: HttpRpc, node: Node) -> None:
        told = await rpc.many(sends(2))
        assert [RpcUnreachable, RpcUnreachable] == [type(each) for each in told]

    within(lambda number, asked: b"SSH-2.0 hello\r\n\r\n", work)


def test_nobody_there() -> None:
    async def work() -> None:
        rpc = HttpRpc("http://127.0.0.1:1")
        told = await rpc.many(sends(2))
        await rpc.close()
        assert [RpcUnreachable, RpcUnreachable] == [type(each) for each in told]

    asyncio.run(work())


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="Linux alone lets us choose")
def test_no_answer_waits_for_our_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 64 as they are sent. Without a word from us each waits tens of milliseconds more."""

    async def work(rpc: HttpRpc, node: Node) -> None:
        start = time.perf_counter()
        for part in range(20):
            assert [raw for _, raw in sends(64, 64 * part)] == await rpc.many(sends(64, 64 * part))
        took.append(time.perf_counter() - start)

    took: list[float] = []
    within(lambda number, asked: plain(result(asked)), work, keeps_back=True)
    monkeypatch.setattr(pipeline, "acknowledge_at_once", lambda connection: None)
    within(lambda number, asked: plain(result(asked)), work, keeps_back=True)
    assert took[0] < took[1] / 2
