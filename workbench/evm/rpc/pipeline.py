"""Transactions written one after another on one connection; their answers are read later.

A node reads the requests of one connection in order (HTTP/1.1), so nonces arrive in order, and the
next request need not wait for an answer. If the connection breaks, it is unknown whether the node
received the transactions without an answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from workbench.evm.codec.http_parser import RECEIVE_BYTES, HttpAnswer, HttpAnswerParser, InvalidHttp
from workbench.evm.codec.jsonrpc import is_truncated
from workbench.evm.rpc.node_url import NodeUrl, failure_text
from workbench.evm.rpc.requests import complete_request, request_head

WRITE_AHEAD = 64
"""How many requests are written before their answers are read."""


class PipelineBroken(Exception):
    """No more answers will come; the text is the cause."""


def acknowledge_at_once(connection: Any) -> None:
    """Send TCP acknowledgements without delay. Call it before each read.

    Otherwise the second of several answers waits up to 40 ms: the node's system holds a small
    answer back until the previous one is acknowledged, and ours delays acknowledgements.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # The socket may be closed, with data still to be read.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Pipeline:
    """One keep-alive connection, opened at its first use."""

    def __init__(self, node: NodeUrl, timeout_s: float) -> None:
        self._node, self._timeout_s = node, timeout_s
        self._head = request_head(node)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._parser = HttpAnswerParser()

    async def exchange(
        self, bodies: Sequence[bytes], decode: Callable[[int, HttpAnswer], Any]
    ) -> tuple[list[Any], str]:
        """Write all requests, and return `decode(place, answer)` of each answer, in order.

        The text says why there are fewer answers than requests ("" if not). An answer to another
        request (`jsonrpc.is_truncated`) is the last one.
        """
        results: list[Any] = []
        loop = asyncio.get_running_loop()
        try:
            while len(results) < len(bodies):
                reader, writer = await self._open_streams()
                part = bodies[len(results) : len(results) + WRITE_AHEAD]
                writer.write(b"".join([complete_request(self._head, body) for body in part]))
                await asyncio.wait_for(writer.drain(), self._timeout_s)
                # One timeout, rescheduled for each answer: `wait_for` would create a task for each.
                async with asyncio.timeout(self._timeout_s) as timeout:
                    for _ in part:
                        timeout.reschedule(loop.time() + self._timeout_s)
                        answer = await self._read_answer(reader, writer)
                        results.append(decode(len(results), answer))
                        if is_truncated(results[-1]):
                            raise PipelineBroken("an answer was to another request")
                        if answer.is_last:
                            raise PipelineBroken("it closed the connection before all was answered")
        except (OSError, InvalidHttp, PipelineBroken) as why:
            await self.close()
            if len(results) < len(bodies):
                return results, failure_text(why)
        return results, ""

    async def _read_answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> HttpAnswer:
        parser = self._parser
        while not parser.ready:
            acknowledge_at_once(writer.get_extra_info("socket"))
            data = await reader.read(RECEIVE_BYTES)
            if data:
                parser.feed(data)
            else:
                parser.finish()
        return parser.ready.popleft()

    async def _open_streams(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            reader, writer = self._streams
            if reader.at_eof() or writer.is_closing():
                await self.close()
        if self._streams is None:
            node = self._node
            secure = ssl.create_default_context() if node.is_secure else None
            opening = asyncio.open_connection(node.host, node.port, ssl=secure, limit=RECEIVE_BYTES)
            self._streams = await asyncio.wait_for(opening, self._timeout_s)
            self._parser = HttpAnswerParser()
        return self._streams

    async def close(self) -> None:
        """Close the connection; the next exchange opens a new one."""
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
