"""Bloom filters of logs: what a block's and a receipt's header says about the logs in them.

Yellow Paper section 4.3.1: three bits of 2048 for each address and topic. A filter may hold what is
not there, and never lacks what is.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from eth_hash.auto import keccak


@lru_cache(4_096)
def bits_of(text: str) -> int:
    """The bits of an address or a topic in 0x hex."""
    digest = keccak(bytes.fromhex(text[2:]))
    bits = 0
    for place in (0, 2, 4):
        bits |= 1 << (int.from_bytes(digest[place : place + 2], "big") & 2047)
    return bits


def bloom_of(logs: Iterable[dict[str, Any]]) -> int:
    """The filter of exactly these logs."""
    bits = 0
    for log in logs:
        bits |= bits_of(log["address"])
        for topic in log["topics"]:
            bits |= bits_of(topic)
    return bits


def may_hold(bloom: str | None, addresses: Iterable[str]) -> bool:
    """Whether a block's filter says that one of the addresses may have logged something.

    A chain that fills no filters says nothing: then False.
    """
    bits = int(bloom or "0x0", 16)
    return any(bits & bits_of(each) == bits_of(each) for each in addresses)
