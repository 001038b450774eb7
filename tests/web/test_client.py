"""The client that asks strangers: what they answer cannot lead it astray, or fill its memory."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.evm.gateway import ForwardProxy
from workbench.core.errors import PeerUnreachable
from workbench.core.ports import Request, Response
from workbench.web import client
from workbench.web.client import SocketHttp
from workbench.web.server import Server

MOST = 1_000


class Stranger:
    """Answers as configured, and keeps the requests."""

    name = "stranger"

    def __init__(self) -> None:
        self.answer = Response(200)
        self.asked: list[Request] = []

    async def handle(self, request: Request) -> Response:
        self.asked.append(request)
        return self.answer


def ask(work: Callable[[Stranger, Callable[[], Awaitable[Response]]], Awaitable[None]]) -> None:
    async def play() -> None:
        stranger = Stranger()
        server, http = Server(stranger, host="127.0.0.1", port=0), SocketHttp(MOST)

        async def post() -> Response:
            return await http.send(Request("POST", f"{server.url}/h", body=b"{}"))

        try:
            await asyncio.wait_for(work(stranger, post), 20)
        finally:
            await http.close()
            await server.close()

    asyncio.run(play())


def test_a_redirect_is_an_answer_and_not_an_order() -> None:
    async def work(stranger: Stranger, post: Callable[[], Awaitable[Response]]) -> None:
        for status in (301, 302, 303, 307, 308):
            stranger.answer = Response(status, headers=(("Location", "/secret"),))
            assert status == (await post()).status
        assert ["/h"] * 5 == [request.url for request in stranger.asked]

    ask(work)


@pytest.mark.parametrize("size", [0, 1, MOST - 1, MOST, MOST + 1, 50 * MOST])
def test_no_more_of_a_body_is_read_than_was_said(size: int) -> None:
    """The status is known all the same, and the next request is answered."""

    async def work(stranger: Stranger, post: Callable[[], Awaitable[Response]]) -> None:
        stranger.answer = Response(200, b"x" * size)
        for _ in range(2):
            told = await post()
            assert (200, min(size, MOST)) == (told.status, len(told.body))

    ask(work)


def test_a_body_without_an_end() -> None:
    async def forever() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 100
            await asyncio.sleep(0)

    async def work(stranger: Stranger, post: Callable[[], Awaitable[Response]]) -> None:
        stranger.answer = Response(200, stream=forever())
        told = await post()
        assert (200, MOST) == (told.status, len(told.body))

    ask(work)


def test_nothing_is_unpacked_and_no_cookie_kept() -> None:
    async def work(stranger: Stranger, post: Callable[[], Awaitable[Response]]) -> None:
        packed = gzip.compress(b"x" * 10**6)
        headers = (("Content-Encoding", "gzip"), ("Set-Cookie", "a=b; Path=/"))
        stranger.answer = Response(200, packed, headers=headers)
        assert packed[:MOST] == (await post()).body
        await post()
        assert stranger.asked[1].header("Cookie") is None

    ask(work)


def test_what_is_not_http_is_nobody() -> None:
    """Noise, headers without an end, a connection that closes at once."""

    async def noise(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with_end = next(answers)
        writer.write(with_end)
        writer.close()

    answers = iter([b"", b"\x16\x03\x01 hello", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 10**6])

    async def play() -> None:
        server = await asyncio.start_server(noise, "127.0.0.1", 0)
        port, http = server.sockets[0].getsockname()[1], SocketHttp(MOST)
        for _ in range(3):
            with pytest.raises(PeerUnreachable):
                await http.send(Request("POST", f"http://127.0.0.1:{port}/h", body=b"{}"))
        await http.close()
        server.close()

    asyncio.run(asyncio.wait_for(play(), 20))


def test_a_time_out_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as "nobody answers at …: ." """
    monkeypatch.setattr(client, "TIMEOUT_S", 0.2)

    async def work(stranger: Stranger, post: Callable[[], Awaitable[Response]]) -> None:
        never = asyncio.Event()

        async def hang(request: Request) -> Response:
            await never.wait()
            return Response(200)

        stranger.handle = hang  # type: ignore[method-assign]
        with pytest.raises(PeerUnreachable, match="no answer within 0.2 s"):
            await post()
        never.set()

    ask(work)


def test_distant_peers_are_asked_through_the_environments_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those on this machine never."""
    for name in ("http_proxy", "no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)

    async def play() -> None:
        stranger = Stranger()
        server, http = Server(stranger, host="127.0.0.1", port=0), SocketHttp(MOST)
        try:
            port = int(server.url.rpartition(":")[2])
            with ForwardProxy(("127.0.0.1", port), "Basic dTpw") as proxy:
                monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", "//u:p@"))
                for url in ("http://peer.invalid/h", f"{server.url}/h"):
                    answer = await http.send(Request("POST", url, body=b"{}"))
                    assert 200 == answer.status
                assert ["POST http://peer.invalid/h HTTP/1.1"] == [line for line, _ in proxy.heads]
        finally:
            await http.close()
            await server.close()

    asyncio.run(asyncio.wait_for(play(), 20))
