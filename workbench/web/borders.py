"""Limits that a request meets before a service sees it (hosts, sizes, headers), and CORS.

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
    """`hosts`: names that are served besides loopback; None: every name, because a key is required.
    `origins`: web pages that may read the answers; `*` for all."""

    hosts: frozenset[str] | None = frozenset()
    origins: frozenset[str] = frozenset()

    def refusal(
        self, headers: Sequence[tuple[str, str]], target: str = "/"
    ) -> WorkbenchError | None:
        """Return the reason why a request with these headers is refused, or None.

        A target in absolute form replaces the Host header (RFC 9112, 3.2.2). Both are checked, so
        that neither hides the other.
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
        """Refuse DNS rebinding: with a foreign name that points to this machine, a browser would
        treat our answers as that site's own."""
        if self.hosts is None or host is None:  # HTTP/1.0 has no Host, and no browser uses it.
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
        """Return the headers that let the requesting page read the answer; none for other pages."""
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
        """Return the headers of the answer to an OPTIONS request."""
        return (
            ("Access-Control-Allow-Methods", "GET, HEAD, POST"),
            ("Access-Control-Allow-Headers", HEADERS_SENT),
            ("Access-Control-Max-Age", "600"),
        )


def _first(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    return next((value for key, value in headers if key.lower() == name), None)


def host_name(host: str) -> str | None:
    """Return the name in a Host header, in lower case, without port and final dot; or None."""
    try:
        parts = urlsplit(f"//{host}")
        name = None if "@" in host or parts.netloc != host else parts.hostname
        _ = parts.port  # Raises ValueError for a port above 65535.
    except ValueError:
        return None
    return name.rstrip(".") or None if name else None
