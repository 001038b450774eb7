"""The Http port over real sockets, with keep-alive, and with the proxies of the environment."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from workbench.core.errors import PeerUnreachable, PeerUntrusted
from workbench.core.ports import Request, Response
from workbench.evm.rpc.node_url import failure_text
from workbench.evm.rpc.proxies import proxy_for

TIMEOUT_S = 90.0


class SocketHttp:
    """One aiohttp session, created at the first request inside the running loop.

    `answer_bytes`: for unknown peers: the most that is read of an answer's body (the rest is
    dropped with the connection); nothing is decompressed, no cookie is kept.
    """

    def __init__(self, answer_bytes: int | None = None) -> None:
        self._session: Any = None
        self._answer_bytes = answer_bytes

    async def send(self, request: Request) -> Response:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=5)
            strange = self._answer_bytes is not None
            self._session = aiohttp.ClientSession(
                timeout=timeout,
                auto_decompress=not strange,
                cookie_jar=aiohttp.DummyCookieJar() if strange else None,
            )
        proxy = proxy_for(request.url)
        try:
            async with self._session.request(
                request.method,
                request.url,
                params=list(request.query) or None,
                headers=list(request.headers),
                data=request.body or None,
                proxy=proxy.url if proxy else None,
                allow_redirects=False,
            ) as answer:
                body = await self._body(answer)
                headers = tuple(answer.headers.items())
                return Response(answer.status, body, answer.content_type, headers)
        except aiohttp.ClientConnectorCertificateError as why:
            raise _untrusted(request.url, why.certificate_error) from why
        except (TimeoutError, aiohttp.ClientError, OSError, ValueError) as why:
            raise PeerUnreachable(
                f"nobody answers at {_place(request.url)}: {_reason(why)}.",
                hint="Is it running? `workbench up` starts everything.",
            ) from why

    async def _body(self, answer: Any) -> bytes:
        """Read the body, up to the allowed size."""
        if self._answer_bytes is None:
            return bytes(await answer.read())
        body = b""
        while len(body) < self._answer_bytes:
            piece = await answer.content.read(self._answer_bytes - len(body))
            if not piece:
                break
            body += piece
        return body

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _reason(why: Exception) -> str:
    """Return why a request failed. A time-out has no text of its own."""
    if isinstance(why, TimeoutError):
        return f"no answer within {TIMEOUT_S:g} s"
    return failure_text(why)


def _place(url: str) -> str:
    """Return the part of a URL that may be shown: its path may contain a password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _untrusted(url: str, why: Exception) -> PeerUntrusted:
    """Return the error of a server whose certificate is not valid."""
    reason = str(getattr(why, "verify_message", None) or type(why).__name__).rstrip(".")
    return PeerUntrusted(
        f"the certificate of {_place(url)} is not trusted: {reason}.",
        hint="SSL_CERT_FILE in the environment names a file of the authorities to believe.",
        reason=reason,
    )
