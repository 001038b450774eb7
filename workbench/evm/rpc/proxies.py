"""The proxy for a host, from the environment.

The standard library reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY, also in lower case. This machine
itself is never reached through a proxy.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit
from urllib.request import (  # type: ignore[attr-defined]
    getproxies_environment,
    proxy_bypass_environment,
)

from workbench.core.errors import InvalidSetting
from workbench.evm.rpc.node_url import basic


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy."""

    url: str
    """It may hold user and password."""
    host: str
    port: int
    login: str
    """The value of the Proxy-Authorization header; "" for none."""

    @property
    def shown(self) -> str:
        """The URL without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """Return whether a name or address means this machine (RFC 6761 section 6.3, RFC 4291)."""
    name = host.rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or bool(mapped and mapped.is_loopback)


def proxy_for(url: str) -> Proxy | None:
    """Return the proxy for a URL's host, or None. Raises InvalidSetting if it is no HTTP proxy."""
    parts = urlsplit(url)
    found = getproxies_environment()
    address, host = found.get(parts.scheme, ""), parts.hostname or ""
    if not address or not host or is_loopback(host):
        return None
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], found):
        return None
    return _parse_proxy(address, f"{parts.scheme.upper()}_PROXY")


def _parse_proxy(address: str, name: str) -> Proxy:
    try:
        url = address if "://" in address else f"http://{address}"
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        url, parts, port = "", urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidSetting(
            f"{name} in the environment is not the address of an HTTP proxy.",
            hint="http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; NO_PROXY=HOST avoids it.",
        )
    login = basic(parts.username, parts.password) if parts.username is not None else ""
    return Proxy(url, parts.hostname, port, login)
