"""Who may ask the payout service: the API key, and requests that pages of other sites cause."""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode
from hmac import compare_digest
from urllib.parse import urlsplit

from workbench.core.errors import (
    CrossSite,
    KeyNeeded,
    TooManyWrongKeys,
)
from workbench.core.ports import Clock, Request
from workbench.services.common.routes import (
    refuse_duplicates,
)
from workbench.services.payouts.wrong_keys import WrongKeys

OPEN_TO_ALL = ("/health", "/livez", "/readyz")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


class AccessRules:
    """Refuse requests without the key, from other sites, and with duplicate headers."""

    def __init__(self, api_key: str | None, clock: Clock) -> None:
        self._api_key, self._clock = _digest(api_key), clock
        self._wrong_keys = WrongKeys()

    def admit(self, request: Request) -> None:
        """Raise the error that refuses a request."""
        refuse_duplicates(request)
        if request.method == "POST":
            _refuse_cross_site(request)
        if self._api_key is None:
            _refuse_foreign_host(request)
        elif request.url not in OPEN_TO_ALL:
            self._check_key(request)

    def _check_key(self, request: Request) -> None:
        """Raise KeyNeeded or TooManyWrongKeys unless the request has the key."""
        given, now = _key_given(request), self._clock.now_ms()
        self._wrong_keys.check(request.client, now)
        if not self._is_key(given):
            if given is not None:
                self._wrong_keys.note(request.client, now)
            raise KeyNeeded(
                "an API key is needed here.",
                hint="Authorization: Bearer <key>; in a browser, the key as password.",
            )

    def _is_key(self, given: str | None) -> bool:
        """Return True for the right key. The comparison takes constant time."""
        return compare_digest(_digest(given) or "", self._api_key or "")

    def may_see(self, request: Request) -> bool:
        """Return True if the caller may see the reasons of alarms: with the key, or if none
        is set."""
        if self._api_key is None:
            return True
        try:
            self._check_key(request)
        except (KeyNeeded, TooManyWrongKeys):
            return False
        return True


def _refuse_cross_site(request: Request) -> None:
    """Raise CrossSite for a POST that a page of another site caused. Programs send neither
    header."""
    site, origin = request.header("Sec-Fetch-Site"), request.header("Origin")
    foreign = site is not None and site not in ("same-origin", "none")
    if site is None and origin is not None:
        foreign = _netloc(origin) != (request.header("Host") or "")
    if foreign:
        raise CrossSite(
            "this came from a page of another site, and was not done.",
            hint="Open this service's own page; programs leave Origin and Sec-Fetch-Site away.",
        )


def _netloc(url: str) -> str | None:
    """Return host and port of a URL, or None."""
    try:
        return urlsplit(url).netloc or None
    except ValueError:
        return None


def _refuse_foreign_host(request: Request) -> None:
    """On loopback, raise CrossSite for a Host header with a foreign name (DNS rebinding)."""
    host = request.header("Host")
    name = (_netloc(f"//{host}") or "?").rpartition("@")[2] if host else None
    name = re.sub(r":[0-9]*$", "", name).strip("[]") if name else None
    if name and name not in LOOPBACK and (request.header("Origin") or request.method == "POST"):
        raise CrossSite(f"this service is not {name[:80]}.", hint="Use http://127.0.0.1 instead.")


def _key_given(request: Request) -> str | None:
    """Return the key of a request (X-API-Key, Bearer, or Basic password), or None."""
    if own := request.header("X-API-Key"):
        return own
    scheme, _, rest = (request.header("Authorization") or "").partition(" ")
    if scheme.lower() == "bearer":
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            return b64decode(rest, validate=True).decode().partition(":")[2]
        except ValueError:
            return None
    return None


def _digest(key: str | None) -> str | None:
    """Return the SHA-256 of a key: digests have equal lengths, so they compare in constant time."""
    return hashlib.sha256(key.encode()).hexdigest() if key else None
