"""Readers of the fields of x402 messages. Each returns a value or raises InvalidPayment."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from workbench.core.errors import InvalidId, InvalidPayment
from workbench.core.money import UINT256_MAX

_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)


_BYTES32 = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)


_SIGNATURE = re.compile(r"0x[0-9a-fA-F]{2,4096}", re.ASCII)


ZERO_ADDRESS = "0x" + "0" * 40


def settlement_id(text: Any) -> str:
    """Return a settlement id: 0x and 64 hex digits, in lower case. Raises InvalidId."""
    if not isinstance(text, str) or not _BYTES32.fullmatch(text):
        raise InvalidId(
            f"{str(text)[:80]!r} is not a settlement id.", hint="It is 0x and 64 hex digits."
        )
    return text.lower()


def address(value: Any, name: str) -> str:
    """Return an address: 0x and 40 hex digits, in lower case. Raises InvalidPayment with the
    field."""
    if not isinstance(value, str) or not _ADDRESS.fullmatch(value):
        raise InvalidPayment(f"{name} is not an address (0x and 40 hex digits).")
    return value.lower()


@cache
def snake(name: str) -> str:
    """Return a name in snake_case: assetAmount becomes asset_amount."""
    return re.sub(r"([A-Z])", lambda m: "_" + m[1].lower(), name)


def read_object(data: Any, name: str) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise InvalidPayment(f"{name} is not a JSON object.")
    return data


def read_uint(value: Any, name: str, limit: int = UINT256_MAX) -> int:
    """Return a JSON integer, or one from decimal text (JavaScript cannot write large integers)."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,78}", value, re.ASCII):
        value = int(value)
    if type(value) is not int or not 0 <= value <= limit:
        raise InvalidPayment(f"{name} is not an integer from 0 to {limit}.")
    return value


def read_uint64(value: Any, name: str) -> int:
    return read_uint(value, name, 2**64 - 1)


def read_bytes32(value: Any, name: str) -> str:
    if not isinstance(value, str) or not _BYTES32.fullmatch(value):
        raise InvalidPayment(f"{name} is not 32 bytes (0x and 64 hex digits).")
    return value.lower()


def read_signature(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value) % 2 or not _SIGNATURE.fullmatch(value):
        raise InvalidPayment(f"{name} is not a signature in hex.")
    return value.lower()
