"""Readers of the texts of settings: each returns a value, or raises InvalidSetting with a hint."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from urllib.parse import urlsplit

from workbench.core.errors import InvalidSetting
from workbench.core.money import EURC, parse_decimal
from workbench.core.webhooks import key_of_secret

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)

_HOST_NAME = re.compile(
    r"(?!.{254})[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*|[0-9a-f:]{2,45}", re.ASCII
)
"""Labels of at most 63 characters (RFC 1035), or an IPv6 address without brackets."""

LIKE_A_KEY = re.compile(r"[0-9a-fA-F]{60}", re.ASCII)

_CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""The order of secp256k1. A private key is between 0 and this number."""


def address(text: str) -> str:
    """Return an address in lower case."""
    if not _ADDRESS.fullmatch(text):
        raise InvalidSetting("is not an address", hint="0x and 40 hex digits.")
    return text.lower()


def private_key(text: str) -> str:
    """Return a secp256k1 private key. The error never shows the text."""
    shaped = re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text, re.ASCII)
    if not shaped or not 0 < int(text, 16) < _CURVE_ORDER:
        raise InvalidSetting("is not a private key", hint="0x and 64 hex digits (not shown here).")
    return text


def http_url(text: str) -> str:
    """Return an http or https URL without a slash at its end."""
    try:
        parts = urlsplit(text)
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # A wrong port, or an open bracket.
        good = False
    if not good or re.search(r"\s", text):
        raise InvalidSetting("is not an http(s) URL", hint="Such as http://127.0.0.1:8545.")
    return text.rstrip("/")


def integer(low: int, high: int) -> Callable[[str], int]:
    """Return a reader of whole numbers from `low` to `high`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text, re.ASCII) or not low <= int(text) <= high:
            raise InvalidSetting("is out of bounds", hint=f"A whole number from {low} to {high}.")
        return int(text)

    return read


def choice(*words: str) -> Callable[[str], str]:
    """Return a reader that accepts these words only."""

    def read(text: str) -> str:
        if text not in words:
            raise InvalidSetting("is not one of the choices", hint=f"One of {', '.join(words)}.")
        return text

    return read


def base_units(text: str) -> int:
    """Return whole base units, also from a text such as 1e15. No float is used."""
    found = re.fullmatch(r"([0-9]{1,36})(?:[eE]\+?([0-9]{1,2}))?", text, re.ASCII)
    units = int(found[1]) * 10 ** int(found[2] or 0) if found else 0
    if not 0 < units < 10**36:
        raise InvalidSetting(
            "is not a number of base units", hint="Whole, such as 1000000000000000 or 1e15."
        )
    return units


def api_key(text: str) -> str:
    """Return an API key: 16 to 200 printable ASCII characters."""
    if not re.fullmatch(r"[\x21-\x7e]{16,200}", text, re.ASCII):
        raise InvalidSetting("is not a key", hint="16 to 200 plain characters, no spaces.")
    return text


def database_url(text: str) -> str:
    """Return the URL of a SQLite or PostgreSQL database."""
    if not re.match(r"(sqlite|postgresql)(\+psycopg)?://", text):
        raise InvalidSetting("is not a database's URL", hint="postgresql://user@host/name.")
    return text


def host_names(text: str) -> tuple[str, ...]:
    """Return host names without ports, in lower case. Spaces or commas separate them."""
    names = tuple(re.split(r"[\s,]+", text.strip(" ,").lower()))
    for name in names:
        if not _HOST_NAME.fullmatch(name):
            raise InvalidSetting("is not a host's name", hint="Such as desk.example, no port.")
    return names


def origins(text: str) -> tuple[str, ...]:
    """Return origins as browsers send them (scheme, host, port), or `*`."""
    found = tuple(re.split(r"[\s,]+", text.strip(" ,")))
    for origin in found:
        if origin != "*" and not re.fullmatch(r"https?://[a-z0-9.:\[\]-]{1,253}", origin):
            raise InvalidSetting("is not an origin", hint="Such as https://shop.example, or *.")
    return found


MOST_SUBSCRIBERS = 20

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def subscriber_urls(text: str) -> tuple[str, ...]:
    """Return the URLs of webhook receivers. Spaces or commas separate them."""
    urls = tuple(dict.fromkeys(re.split(r"[\s,]+", text.strip(" ,"))))
    if len(urls) > MOST_SUBSCRIBERS:
        raise InvalidSetting("are too many", hint=f"At most {MOST_SUBSCRIBERS}.")
    for url in urls:
        _refuse_subscriber(url)
    return urls


def _refuse_subscriber(url: str) -> None:
    """Raise InvalidSetting unless the URL is a safe receiver of webhooks.

    Messages name users, addresses and amounts, so a receiver must prove its name by TLS. So a
    service inside the network that does not speak TLS under a known name, such as the metadata
    service of a cloud or a database, never receives a message, wherever a name points.
    """
    http_url(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise InvalidSetting(
            "holds a user, a password or a fragment",
            hint="Receivers know us by the signature; a URL is https://host/path?query.",
        )
    if parts.scheme != "https" and host not in LOOPBACK_NAMES:
        raise InvalidSetting(
            "is not https", hint="Plain http goes to localhost, 127.0.0.1 and ::1 alone."
        )
    try:
        address = ip_address(host)
    except ValueError:
        return  # A name: its certificate proves it.
    address = getattr(address, "ipv4_mapped", None) or address
    if address.is_link_local or address.is_multicast or address.is_unspecified:
        raise InvalidSetting("is no host's address", hint="Name the receiver by its host's name.")


def webhook_secrets(text: str) -> tuple[str, ...]:
    """Return one secret, or the new and the old one during a change of secrets."""
    secrets = tuple(text.split())
    if len(secrets) > 2:
        raise InvalidSetting("holds too many", hint="One; or two, while one follows the other.")
    for secret in secrets:
        key_of_secret(secret)
    return secrets


NO_LIMIT = "none"


def eurc_or_none(text: str) -> int | None:
    """Return an amount in EURC base units, or None for `none`."""
    return None if text.lower() == NO_LIMIT else parse_decimal(text, EURC.decimals)


def count_or_none(text: str) -> int | None:
    """Return a number from 1 to 1,000,000, or None for `none`."""
    return None if text.lower() == NO_LIMIT else integer(1, 1_000_000)(text)
