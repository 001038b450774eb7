"""Transactions written one after the other on one connection, their answers read behind.

A node reads one connection's requests in order (HTTP/1.1), so nonces arrive in order, and nobody
waits for an answer before the next one is written. Where the connection breaks, nobody knows what
became of those without an answer.
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
from workbench.evm.rpc.node_url import NodeUrl, plain_words
from workbench.evm.rpc.requests import request_head, whole

AHEAD = 64
"""So many requests are written before their answers are read: the node has work while we have."""


class PipelineBroken(Exception):
    """No answer any more; the text says why."""


def acknowledge_at_once(connection: Any) -> None:
    """Before each read: else the second of several answers waits up to 40 ms.

    The node's system keeps a small answer back until the one before it is acknowledged, and ours
    keeps acknowledgements back until it has something to say.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # It may be closed, and what it said not be read yet.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Pipeline:
    """One kept connection, opened at the first use."""

    def __init__(self, place: NodeUrl, timeout_s: float) -> None:
        self._place, self._timeout_s = place, timeout_s
        self._head = request_head(place)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._parser = HttpAnswerParser()

    async def exchange(
        self, bodies: Sequence[bytes], taken: Callable[[int, HttpAnswer], Any]
    ) -> tuple[list[Any], str]:
        """What `taken(place, answer)` makes of the answers in order, and why there are fewer than
        requests ("" if not). One that is torn (`codec.is_truncated`) is the last."""
        results: list[Any] = []
        loop = asyncio.get_running_loop()
        try:
            while len(results) < len(bodies):
                reader, writer = await self._opened()
                some = bodies[len(results) : len(results) + AHEAD]
                writer.write(b"".join([whole(self._head, body) for body in some]))
                await asyncio.wait_for(writer.drain(), self._timeout_s)
                # One watch for all, wound up anew at each: `wait_for` would make a task of each.
                async with asyncio.timeout(self._timeout_s) as patience:
                    for _ in some:
                        patience.reschedule(loop.time() + self._timeout_s)
                        answer = await self._answer(reader, writer)
                        results.append(taken(len(results), answer))
                        if is_truncated(results[-1]):
                            raise PipelineBroken("an answer was to another request")
                        if answer.is_last:
                            raise PipelineBroken("it closed the connection before all was answered")
        except (OSError, InvalidHttp, PipelineBroken) as why:
            await self.close()
            if len(results) < len(bodies):
                return results, plain_words(why)
        return results, ""

    async def _answer(
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

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            reader, writer = self._streams
            if reader.at_eof() or writer.is_closing():
                await self.close()
        if self._streams is None:
            place = self._place
            secure = ssl.create_default_context() if place.is_secure else None
            opening = asyncio.open_connection(
                place.host, place.port, ssl=secure, limit=RECEIVE_BYTES
            )
            self._streams = await asyncio.wait_for(opening, self._timeout_s)
            self._parser = HttpAnswerParser()
        return self._streams

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
