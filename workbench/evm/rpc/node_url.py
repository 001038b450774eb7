"""Where a node is: its URL taken apart, and the words for what is wrong there."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from base64 import b64encode
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from workbench.core.errors import InvalidSetting, RpcUnreachable

_ERRNO = re.compile(r"\[Errno -?\d+\] ?")


@dataclass(frozen=True, slots=True)
class NodeUrl:
    """A URL's parts. `host` without brackets; `login`: the value of a header, "" for none."""

    scheme: str
    host: str
    port: int
    has_port: bool
    target: str
    login: str

    @property
    def is_secure(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port as in a Host header (RFC 3986 section 3.2.2: IPv6 in brackets)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.has_port else host

    @property
    def shown(self) -> str:
        """What a person may see: user, path and query may hold keys."""
        return f"{self.scheme}://{self.authority}"


def place_of(url: str) -> NodeUrl:
    """Raises InvalidSetting where it is no http or https URL with a host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidSetting(
            "the URL of a node is not http://HOST:PORT or https://HOST.",
            hint="An IPv6 address stands in brackets: http://[::1]:8545.",
        )
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    login = basic(parts.username, parts.password) if parts.username is not None else ""
    standard = 443 if parts.scheme == "https" else 80
    return NodeUrl(parts.scheme, parts.hostname, port or standard, port is not None, target, login)


def basic(user: str | None, password: str | None) -> str:
    """A header's value for HTTP Basic (RFC 7617), from a URL's percent-encoded parts."""
    login = f"{unquote(user or '')}:{unquote(password or '')}".encode()
    return f"Basic {b64encode(login).decode()}"


def unreachable(shown: str, why: BaseException | str) -> RpcUnreachable:
    """There was no answer at `NodeUrl.shown`: nobody knows what became of the request."""
    said = why if isinstance(why, str) else plain_words(why)
    return RpcUnreachable(
        f"no chain at {shown}: {said}.",
        hint="Start it (`workbench up`), or correct the RPC URL.",
    )


def plain_words(why: BaseException) -> str:
    """What a system's error means, without its number, class and punctuation."""
    inner = getattr(why, "os_error", None)  # aiohttp's connector errors.
    if isinstance(inner, OSError) and inner is not why:
        return plain_words(inner)
    several = getattr(why, "exceptions", None)
    if several:
        return plain_words(several[0])
    if isinstance(why, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {why.verify_message.rstrip('.')}"
    for kind, words in (
        (ConnectionRefusedError, "connection refused"),
        (ConnectionResetError, "the connection was reset"),
        (BrokenPipeError, "the connection was closed"),
        (ConnectionAbortedError, "the connection was aborted"),
        (socket.gaierror, "the host's name is not known"),
        (TimeoutError, "no answer in time"),
        (asyncio.IncompleteReadError, "it closed the connection in the middle of an answer"),
        (ssl.SSLError, "it does not speak TLS as we do"),
    ):
        if isinstance(why, kind):
            return words
    if type(why).__name__ == "ServerDisconnectedError":  # aiohttp's.
        return "it closed the connection without an answer"
    text = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
    if "Connect call failed" in text and "Errno 111" in text:  # asyncio: several addresses.
        return "connection refused"
    return _ERRNO.sub("", text).rstrip(".").strip() or type(why).__name__
