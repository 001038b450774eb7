"""The Http port over real sockets, with keep-alive."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from workbench.core.errors import PeerUnreachable
from workbench.core.ports import Request, Response

TIMEOUT_S = 90.0


class SocketHttp:
    """One aiohttp session, made at the first request inside the running loop."""

    def __init__(self) -> None:
        self._session: Any = None

    async def send(self, request: Request) -> Response:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=5)
            self._session = aiohttp.ClientSession(timeout=timeout)
        try:
            async with self._session.request(
                request.method,
                request.url,
                params=list(request.query) or None,
                headers=list(request.headers),
                data=request.body or None,
                allow_redirects=False,
            ) as answer:
                body = await answer.read()
                headers = tuple(answer.headers.items())
                return Response(answer.status, body, answer.content_type, headers)
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as why:
            parts = urlsplit(request.url)
            raise PeerUnreachable(
                f"nobody answers at {parts.scheme}://{parts.netloc}: {why or type(why).__name__}.",
                hint="Is it running? `workbench up` starts everything.",
            ) from why

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None
