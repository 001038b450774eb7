"""Which proxy stands between us and a host, by the environment.

HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in lower case too, as the standard library reads them. The
own machine is never reached through a proxy, whatever they say.
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
    """An HTTP proxy. `url` may hold user and password. `login`: the value of Proxy-Authorization,
    "" for none."""

    url: str
    host: str
    port: int
    login: str

    @property
    def shown(self) -> str:
        """Without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def is_loopback(host: str) -> bool:
    """This machine itself, by a name or an address (RFC 6761 section 6.3, RFC 1122, RFC 4291)."""
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
    """The proxy for a URL's host, None for none. Raises InvalidSetting for one we cannot use."""
    parts = urlsplit(url)
    found = getproxies_environment()
    address, host = found.get(parts.scheme, ""), parts.hostname or ""
    if not address or not host or is_loopback(host):
        return None
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], found):
        return None
    return _parsed(address, f"{parts.scheme.upper()}_PROXY")


def _parsed(address: str, name: str) -> Proxy:
    try:
        url = address if "://" in address else f"http://{address}"
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError:
        url, parts, port = "", urlsplit(""), 0
    if parts.scheme != "http" or not parts.hostname:
        raise InvalidSetting(
            f"{name} in the environment is not the address of an HTTP proxy.",
            hint="http://HOST:PORT or http://USER:PASSWORD@HOST:PORT; NO_PROXY=HOST goes past it.",
        )
    login = basic(parts.username, parts.password) if parts.username is not None else ""
    return Proxy(url, parts.hostname, port, login)
