"""A node's URL in its parts, what of it may be shown, and texts for connection failures."""

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
    """The parts of a node's URL."""

    scheme: str
    """`http` or `https`."""
    host: str
    """Name or address; IPv6 without brackets."""
    port: int
    has_port: bool
    """Whether the URL names the port."""
    target: str
    """Path and query."""
    login: str
    """The value of the Authorization header; "" for none."""

    @property
    def is_secure(self) -> bool:
        """Whether the connection uses TLS."""
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        """Host and port for the Host header (RFC 3986 section 3.2.2: IPv6 in brackets)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.has_port else host

    @property
    def shown(self) -> str:
        """The URL without user, path and query, which may hold keys."""
        return f"{self.scheme}://{self.authority}"


def parse_node_url(url: str) -> NodeUrl:
    """Parse a node's URL. Raises InvalidSetting if it is no http or https URL with a host."""
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
    """Return a header's value for HTTP Basic (RFC 7617) from a URL's percent-encoded parts."""
    login = f"{unquote(user or '')}:{unquote(password or '')}".encode()
    return f"Basic {b64encode(login).decode()}"


def public_url(url: str) -> str:
    """Return a URL without the parts that may be secret: user, password, path and query."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def secrets_of(url: str) -> list[str]:
    """Return the parts of a URL that must not be shown."""
    parts = urlsplit(url)
    login, _, _ = parts.netloc.rpartition("@")
    # A short path such as /rpc is no secret, and hiding every "rpc" would spoil the text.
    long = [part for part in (parts.path.strip("/"), parts.query) if len(part) >= 8]
    return [f"{login}@", *long] if login else long


def unreachable(shown: str, why: BaseException | str) -> RpcUnreachable:
    """Return the error for a request without an answer: it may have been executed or not.

    `shown`: see `NodeUrl.shown`.
    """
    cause = why if isinstance(why, str) else failure_text(why)
    return RpcUnreachable(
        f"no chain at {shown}: {cause}.",
        hint="Start it (`workbench up`), or correct the RPC URL.",
    )


def failure_text(why: BaseException) -> str:
    """Return what a system error means, without its number, class and final full stop."""
    inner = getattr(why, "os_error", None)  # An error of aiohttp's connector.
    if isinstance(inner, OSError) and inner is not why:
        return failure_text(inner)
    several = getattr(why, "exceptions", None)
    if several:
        return failure_text(several[0])
    if isinstance(why, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {why.verify_message.rstrip('.')}"
    for kind, text in (
        (ConnectionRefusedError, "connection refused"),
        (ConnectionResetError, "the connection was reset"),
        (BrokenPipeError, "the connection was closed"),
        (ConnectionAbortedError, "the connection was aborted"),
        (socket.gaierror, "the host's name is not known"),
        (TimeoutError, "no answer in time"),
        (asyncio.IncompleteReadError, "it closed the connection in the middle of an answer"),
        (ssl.SSLError, "the TLS handshake failed"),
    ):
        if isinstance(why, kind):
            return text
    if type(why).__name__ == "ServerDisconnectedError":  # An error of aiohttp.
        return "it closed the connection without an answer"
    text = why.strerror if isinstance(why, OSError) and why.strerror else str(why)
    if "Connect call failed" in text and "Errno 111" in text:  # asyncio, for several addresses.
        return "connection refused"
    return _ERRNO.sub("", text).rstrip(".").strip() or type(why).__name__
