"""Hosts, sizes, slow clients and nonsense: what a service never sees, and what it says instead."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.core.ports import Request, Response
from workbench.web.borders import MAX_BODY_BYTES, RequestLimits
from workbench.web.server import Server

SOON_S = 0.3
Talk = Callable[[bytes], Awaitable[tuple[int, dict[str, str], bytes]]]


class Echo:
    """Tells what it was asked."""

    name = "echo"

    def __init__(self) -> None:
        self.seen: list[Request] = []

    async def handle(self, request: Request) -> Response:
        self.seen.append(request)
        if request.url == "/stream":
            return Response(200, b"", "text/event-stream", stream=self.follow())
        return Response.json(200, {"url": request.url, "size": len(request.body)})

    async def follow(self) -> AsyncIterator[bytes]:
        self.seen.clear()  # Somebody reads.
        await asyncio.Event().wait()
        yield b""


def play(work: Callable[[Talk, Echo, Server], Coroutine[Any, Any, None]], **options: Any) -> None:
    async def whole() -> None:
        echo = Echo()
        server = Server(echo, host="127.0.0.1", port=0, **options)

        async def talk(data: bytes) -> tuple[int, dict[str, str], bytes]:
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(data)
            try:
                return await answered(reader)
            finally:
                writer.close()

        try:
            await asyncio.wait_for(work(talk, echo, server), 30)
        finally:
            await server.close()

    asyncio.run(whole())


async def answered(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of the next answer; status 0 where the connection ends first."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return 0, {}, b""
    pairs = (line.partition(":") for line in head[1:] if line)
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers, body


def get(path: str = "/x", host: str = "127.0.0.1", *lines: str, method: str = "GET") -> bytes:
    head = [f"{method} {path} HTTP/1.1", f"Host: {host}", *lines]
    return ("\r\n".join(head) + "\r\n\r\n").encode("latin-1")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:80", 200),
        ("localhost", 200),
        ("LOCALHOST.:8080", 200),
        ("[::1]:1", 200),
        ("desk.example:9", 200),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("[", 400),
        ("", 400),
        ("localhost:evil", 400),
        ("localhost:70000", 400),
        ("evil.example@localhost", 400),
        ("localhost/evil.example", 400),
        ("localhost?", 400),
    ],
)
def test_other_host_names_are_refused_on_every_path(host: str, status: int) -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        for method in ("GET", "HEAD", "POST", "OPTIONS"):
            said, _, body = await talk(get("/any/path", host, method=method))
            if status != 200 or method in ("GET", "HEAD"):
                assert said == status, (method, body)
        if status == 421:
            told = json.loads((await talk(get("/x", host)))[2])
            assert told["error"] == "host_not_served"
            assert "ALLOWED_HOSTS" in told["hint"]
            assert echo.seen == []

    play(work, borders=RequestLimits(frozenset({"desk.example"})))


def test_where_a_key_is_asked_for_every_name_is_served() -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        assert (await talk(get(host="any.example")))[0] == 200

    play(work, borders=RequestLimits(None))


def test_errors_of_the_server_itself_are_our_json() -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        for data, status in (
            (b"nonsense\r\n\r\n", 400),
            (b"GET /x HTTP/1.1\r\nHost: localhost\r\n folded: 1\r\n\r\n", None),
            (b"GET /x HTTP/1.1\r\nno colon\r\n\r\n", 400),
            (get(method="BREW"), 405),
            (get("/x", "localhost", "X: " + "y" * 70_000), 431),
            (b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: x\r\n\r\n", 400),
        ):
            said, headers, body = await talk(data)
            assert said == status or (status is None and said in (200, 400)), data[:60]
            assert headers["content-type"] == "application/json"
            assert json.loads(body).keys() >= {"error", "message"} or said == 200
        said, _, body = await talk(get("http://localhost/absolute?a=1"))
        assert (said, json.loads(body)["url"]) == (200, "/absolute")

    play(work)


@pytest.mark.parametrize("size", [300_000, 1_048_576])
def test_headers_of_any_size_are_answered(size: int) -> None:
    """Also those that are not read to their end."""

    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        said, _, body = await talk(get("/x", "localhost", "X: " + "y" * size))
        assert (said, json.loads(body)["error"]) == (431, "headers_too_large")
        assert (await talk(get()))[0] == 200

    play(work)


def test_head_of_a_stream_ends_and_follows_nothing() -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        said, headers, _ = await talk(get("/stream", method="HEAD"))
        assert (said, headers["content-type"]) == (200, "text/event-stream")
        assert len(echo.seen) == 1

    play(work)


def test_a_target_in_absolute_form_is_held_to_the_same_names() -> None:
    """RFC 9112, 3.2.2: it counts more than the Host header."""

    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        for target, status in (
            ("http://evil.example/x", 421),
            ("HTTP://EVIL.example:1/x?u=http://localhost/", 421),
            ("http:///x", 400),
            ("http://localhost:1/x", 200),
            ("/x?u=http://evil.example/", 200),
        ):
            assert (await talk(get(target)))[0] == status, target

    play(work)


def test_a_body_above_the_limit_is_refused_before_it_is_whole() -> None:
    """By its length at once; in chunks once it is too long. Nothing more is read."""

    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        head = (
            f"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
        )
        said, headers, body = await talk(head.encode())
        assert (said, json.loads(body)["error"]) == (413, "body_too_large")
        assert headers["connection"] == "close"
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        start = b"POST /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        said, _, body = await talk(start + chunk + b"1\r\nx\r\n")
        assert (said, json.loads(body)["error"]) == (413, "body_too_large")
        assert echo.seen == []
        said, _, body = await talk(start + chunk + b"0\r\n\r\n")
        assert (said, json.loads(body)["size"]) == (200, MAX_BODY_BYTES)

    play(work)


@pytest.mark.parametrize(
    "beginning",
    [b"GET /x HT", b"POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000\r\n\r\nx"],
    ids=["header", "body"],
)
def test_half_a_request_is_closed_also_when_it_trickles(beginning: bytes) -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        loop = asyncio.get_running_loop()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(beginning)
        ended = asyncio.ensure_future(reader.read())
        start = loop.time()
        while not ended.done():
            assert loop.time() - start < 20 * SOON_S, "it is still open"
            writer.write(b"a")
            await asyncio.wait({ended}, timeout=SOON_S / 10)
        writer.close()
        assert echo.seen == []

    play(work, reading_s=SOON_S)


def test_connections_are_bounded_and_the_next_is_told() -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(3)]
        for _, writer in held:
            writer.write(get())
        assert [(await answered(reader))[0] for reader, _ in held] == [200, 200, 200]
        said, _, body = await talk(get())
        assert (said, json.loads(body)["error"]) == (503, "busy")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        for _ in range(1_000):  # Until the server has seen that they are gone.
            said, _, _ = await talk(get())
            if said == 200:
                break
        assert said == 200

    play(work, connections=3)


def test_pages_of_named_origins_may_read() -> None:
    origin = "Origin: https://shop.example"

    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        _, headers, _ = await talk(get("/x", "localhost", origin))
        assert headers["access-control-allow-origin"] == "https://shop.example"
        assert headers["vary"] == "Origin"
        _, headers, _ = await talk(get("/x", "localhost", "Origin: https://evil.example"))
        assert "access-control-allow-origin" not in headers
        said, headers, _ = await talk(get("/x", "localhost", origin, method="OPTIONS"))
        assert (said, "X-PAYMENT" in headers["access-control-allow-headers"]) == (204, True)
        assert [request.method for request in echo.seen] == ["GET", "GET"]

    async def nobody(talk: Talk, echo: Echo, server: Server) -> None:
        _, headers, _ = await talk(get("/x", "localhost", origin))
        assert not [name for name in headers if name.startswith("access-control")]

    play(work, borders=RequestLimits(origins=frozenset({"https://shop.example"})))
    play(nobody)


HEADERS = st.sampled_from(["Host", "Origin", "Referer", "Accept", "Cookie", "Prefer", "X-PAYMENT"])
VALUES = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(HEADERS, VALUES), max_size=4))
def test_whatever_headers_say_it_is_no_error_of_ours(pairs: list[tuple[str, str]]) -> None:
    async def work(talk: Talk, echo: Echo, server: Server) -> None:
        lines = [f"{name}: {value}" for name, value in pairs]
        said, _, _ = await talk(get("/x", "localhost", *lines))
        assert said in (200, 400, 421, 431)

    play(work)
