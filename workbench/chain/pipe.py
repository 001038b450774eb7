"""Transactions written one after the other on one connection, their answers read behind.

A node reads one connection's requests in order (HTTP/1.1), so nonces arrive in order, and nobody
waits for an answer before the next one is written. Where the connection breaks, nobody knows what
became of those without an answer.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import unquote, urlsplit

MAX_HEAD_BYTES = 65_536
AHEAD = 64
"""So many requests are written before their answers are read: the node has work while we have."""


class BrokenPipe(Exception):
    """No answer any more; the text says why."""


def request_head(url: str) -> bytes:
    """All of a JSON-RPC request (HTTP/1.1) before the length of its body."""
    parts = urlsplit(url)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    port = f":{parts.port}" if parts.port else ""
    head = f"POST {target} HTTP/1.1\r\nHost: {parts.hostname}{port}\r\n"
    head += "Content-Type: application/json\r\n"
    if parts.username is not None:
        login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        head += f"Authorization: Basic {b64encode(login).decode()}\r\n"
    return head.encode() + b"Content-Length: "


def acknowledge_at_once(connection: Any) -> None:
    """Before each read: else the second of several answers waits up to 40 ms.

    The node's system keeps a small answer back until the one before it is acknowledged, and ours
    keeps acknowledgements back until it has something to say.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):  # It may be closed, and what it said not be read yet.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class Pipe:
    """One kept connection to `url`, opened at the first use."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._host, self._secure = parts.hostname or "", parts.scheme == "https"
        self._port = parts.port or (443 if self._secure else 80)
        self._timeout_s = timeout_s
        self._head = request_head(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, bodies: Sequence[bytes]) -> tuple[list[bytes], str]:
        """The answers' bodies in order, and why there are fewer than requests ("" if not)."""
        answers: list[bytes] = []
        loop = asyncio.get_running_loop()
        try:
            while len(answers) < len(bodies):
                reader, writer = await self._opened()
                some = bodies[len(answers) : len(answers) + AHEAD]
                requests = [b"%b%d\r\n\r\n%b" % (self._head, len(body), body) for body in some]
                writer.write(b"".join(requests))
                await asyncio.wait_for(writer.drain(), self._timeout_s)
                # One watch for all, wound up anew at each: `wait_for` would make a task of each.
                async with asyncio.timeout(self._timeout_s) as patience:
                    for _ in some:
                        patience.reschedule(loop.time() + self._timeout_s)
                        acknowledge_at_once(writer.get_extra_info("socket"))
                        body, is_last = await _answer(reader)
                        answers.append(body)
                        if is_last:
                            raise BrokenPipe("it closed the connection before all was answered")
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError, BrokenPipe) as why:
            await self.close()
            if len(answers) < len(bodies):
                return answers, str(why) or type(why).__name__
        return answers, ""

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None:
            reader, writer = self._streams
            if reader.at_eof() or writer.is_closing():
                await self.close()
        if self._streams is None:
            secure = ssl.create_default_context() if self._secure else None
            opening = asyncio.open_connection(
                self._host, self._port, ssl=secure, limit=MAX_HEAD_BYTES
            )
            self._streams = await asyncio.wait_for(opening, self._timeout_s)
        return self._streams

    async def close(self) -> None:
        if self._streams is not None:
            writer, self._streams = self._streams[1], None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _answer(reader: asyncio.StreamReader) -> tuple[bytes, bool]:
    """The next answer's body, and whether no other one follows on this connection."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    if not first.startswith(b"HTTP/1."):
        raise BrokenPipe("it does not speak HTTP")
    if first.split(None, 2)[1:2] == [b"100"]:
        return await _answer(reader)
    named = (line.partition(b":") for line in lines)
    fields = {name.strip().lower(): value.strip().lower() for name, _, value in named}
    is_last = fields.get(b"connection") == b"close"
    if b"chunked" in fields.get(b"transfer-encoding", b""):
        return await _chunks(reader), is_last
    if b"content-length" not in fields:
        return await reader.read(), True
    return await reader.readexactly(int(fields[b"content-length"])), is_last


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass  # Trailers.
    return body
