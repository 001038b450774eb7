"""What is refused before a service sees a request (hosts, sizes, headers), and who may read.

Sources: RFC 9110 (HTTP semantics), the Fetch standard (CORS).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from workbench.core.errors import (
    BodyTooLarge,
    HeadersTooLarge,
    HostNotServed,
    InputError,
    WorkbenchError,
)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
MAX_BODY_BYTES = 65_536
MAX_HEADER_BYTES = 65_536
ANY = "*"
HEADERS_READ = "X-PAYMENT-RESPONSE, Idempotency-Replayed, Retry-After, Preference-Applied"
HEADERS_SENT = "X-PAYMENT, Content-Type, Idempotency-Key, Prefer"


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """`hosts`: names that are served beside those of loopback; None: every name, since a key is
    asked for. `origins`: web pages that may read the answers; `*` stands for all."""

    hosts: frozenset[str] | None = frozenset()
    origins: frozenset[str] = frozenset()

    def refusal(
        self, headers: Sequence[tuple[str, str]], target: str = "/"
    ) -> WorkbenchError | None:
        """Why a request with these headers is not answered; None if it is.

        A target in absolute form names the host, and the Host header counts no more (RFC 9112,
        3.2.2); both are checked, so that neither can hide the other.
        """
        size = sum(len(name) + len(value) + 4 for name, value in headers)
        if size > MAX_HEADER_BYTES:
            return HeadersTooLarge(f"the headers are larger than {MAX_HEADER_BYTES} bytes.")
        length = _first(headers, "content-length")
        if length is not None and length.isdecimal() and int(length[:20]) > MAX_BODY_BYTES:
            return BodyTooLarge(f"the body is larger than {MAX_BODY_BYTES} bytes.")
        named = target.split("?", 1)[0].partition("://")
        authority = named[2].partition("/")[0] if named[1] else None
        return self._foreign(_first(headers, "host")) or self._foreign(authority)

    def _foreign(self, host: str | None) -> WorkbenchError | None:
        """DNS rebinding: a foreign name that leads to this machine makes a browser believe that our
        answers are that site's own."""
        if self.hosts is None or host is None:  # HTTP/1.0 has no Host, and no browser speaks it.
            return None
        name = host_name(host)
        if name is None:
            return InputError("the Host header is not a host's name.")
        if name in LOOPBACK_NAMES or name in self.hosts:
            return None
        return HostNotServed(
            f"this service is not {name[:80]}.",
            hint="Use http://127.0.0.1, or add the name to ALLOWED_HOSTS.",
        )

    def cors(self, headers: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
        """The headers that let the asking page read the answer; none for others."""
        origin = _first(headers, "origin")
        if not self.origins or origin is None:
            return ()
        vary = (("Vary", "Origin"),)
        if ANY not in self.origins and origin not in self.origins:
            return vary
        allowed = ANY if ANY in self.origins else origin
        return (
            *vary,
            ("Access-Control-Allow-Origin", allowed),
            ("Access-Control-Expose-Headers", HEADERS_READ),
        )

    def preflight(self) -> tuple[tuple[str, str], ...]:
        """What a page may send, for the OPTIONS request that asks."""
        return (
            ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
            ("Access-Control-Allow-Headers", HEADERS_SENT),
            ("Access-Control-Max-Age", "600"),
        )


def _first(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case, without port and final dot; None for none."""
    try:
        parts = urlsplit(f"//{host}")
        name = None if "@" in host or parts.netloc != host else parts.hostname
        _ = parts.port  # Raises ValueError for one that is no number up to 65535.
    except ValueError:
        return None
    return name.rstrip(".") or None if name else None
