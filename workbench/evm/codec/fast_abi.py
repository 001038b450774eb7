"""Fast encoders for the hot path: ABI values of one word each, RLP of integers and bytes.

eth_abi and eth_account take 50 to 100 times longer. This module supports a few simple ("plain")
shapes: words of 32 bytes, static structs of words, and `bytes`. For everything else `to_plain`
returns None, or the encoder raises UnsupportedByFastAbi; the caller then uses eth_abi. Tests
compare both.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

from sha3 import keccak_256

WORD = 32


class UnsupportedByFastAbi(ValueError):
    """A value or data of a shape that this module does not support; use eth_abi."""


def keccak(data: bytes) -> bytes:
    """Return the Keccak-256 digest."""
    digest: bytes = keccak_256(data).digest()
    return digest


# --- One word -------------------------------------------------------------------------------------

EncodeWord = Callable[[Any], bytes]
DecodeWord = Callable[[bytes], Any]


def _uint(bits: int) -> tuple[EncodeWord, DecodeWord]:
    def encode(value: Any) -> bytes:
        if type(value) is not int or value < 0 or value >> bits:
            raise UnsupportedByFastAbi
        return value.to_bytes(WORD, "big")

    def decode(word: bytes) -> int:
        value = int.from_bytes(word, "big")
        if value >> bits:
            raise UnsupportedByFastAbi
        return value

    return encode, decode


def _fixed(size: int) -> tuple[EncodeWord, DecodeWord]:
    def encode(value: Any) -> bytes:
        if type(value) is not bytes or len(value) != size:
            raise UnsupportedByFastAbi
        return value.ljust(WORD, b"\0")

    def decode(word: bytes) -> bytes:
        if any(word[size:]):
            raise UnsupportedByFastAbi
        return word[:size]

    return encode, decode


def _encode_address(value: Any) -> bytes:
    # Lower case only: eth_abi verifies the checksum of mixed case.
    if type(value) is not str or len(value) != 42 or value[:2] != "0x" or value != value.lower():
        raise UnsupportedByFastAbi
    try:
        return bytes.fromhex(value[2:]).rjust(WORD, b"\0")
    except ValueError:
        raise UnsupportedByFastAbi from None


def _decode_address(word: bytes) -> str:
    if any(word[:12]):
        raise UnsupportedByFastAbi
    return "0x" + word[12:].hex()


def _encode_bool(value: Any) -> bytes:
    if type(value) is not bool:
        raise UnsupportedByFastAbi
    return value.to_bytes(WORD, "big")


def _decode_bool(word: bytes) -> bool:
    value = int.from_bytes(word, "big")
    if value > 1:
        raise UnsupportedByFastAbi
    return bool(value)


WORDS: dict[str, tuple[EncodeWord, DecodeWord]] = {
    **{f"uint{bits}": _uint(bits) for bits in range(8, 257, 8)},
    **{f"bytes{size}": _fixed(size) for size in range(1, 33)},
    "address": (_encode_address, _decode_address),
    "bool": (_encode_bool, _decode_bool),
}
"""Encoder and decoder of each ABI type that fills one word."""


class EncodedStruct(bytes):
    """The ABI encoding of a static struct; encoders take it in place of the struct."""


def encode_words(kinds: Sequence[str], values: Sequence[Any]) -> bytes:
    """Encode values of one word each. Raises UnsupportedByFastAbi."""
    try:
        pairs = zip(kinds, values, strict=True)
        return b"".join([WORDS[kind][0](value) for kind, value in pairs])
    except (KeyError, ValueError) as why:
        raise UnsupportedByFastAbi from why


# --- Arguments and results ------------------------------------------------------------------------

PlainTypes = tuple[Any, ...]
"""One entry for each value: a word's type, "bytes", or the PlainTypes of a static struct."""


def to_plain(items: Sequence[dict[str, Any]]) -> PlainTypes | None:
    """Return the types of ABI items for `encode_plain` and `decode_plain`.

    None if one of them is not supported.
    """
    found: list[Any] = []
    for item in items:
        kind = item["type"]
        if kind == "tuple":
            inner = to_plain(item["components"])
            if inner is None or "bytes" in _flat(inner):
                return None
            found.append(inner)
        elif kind in WORDS or kind == "bytes":
            found.append(kind)
        else:
            return None
    return tuple(found)


@cache
def _flat(types: PlainTypes) -> tuple[str, ...]:
    kinds: list[str] = []
    for each in types:
        kinds += [each] if isinstance(each, str) else _flat(each)
    return tuple(kinds)


def encode_plain(types: PlainTypes, values: Sequence[Any]) -> bytes:
    """Encode arguments. Raises UnsupportedByFastAbi."""
    parts: list[bytes] = []
    if len(types) != len(values):
        raise UnsupportedByFastAbi
    size = WORD * len(_flat(types))
    tail: list[bytes] = []
    for kind, value in zip(types, values, strict=True):
        if kind == "bytes":
            if type(value) is not bytes:
                raise UnsupportedByFastAbi
            parts.append(size.to_bytes(WORD, "big"))
            body = value.ljust(-(-len(value) // WORD) * WORD, b"\0")
            tail += [len(value).to_bytes(WORD, "big"), body]
            size += WORD + len(body)
        elif isinstance(kind, str):
            parts.append(WORDS[kind][0](value))
        elif type(value) is EncodedStruct and len(value) == WORD * len(_flat(kind)):
            parts.append(value)
        else:
            parts.append(encode_plain(kind, value))
    return b"".join(parts + tail)


def decode_plain(types: PlainTypes, data: bytes) -> tuple[Any, ...]:
    """Decode static values from exactly as many words. Raises UnsupportedByFastAbi."""
    kinds = _flat(types)
    if len(data) != WORD * len(kinds) or "bytes" in kinds:
        raise UnsupportedByFastAbi
    words = iter([data[at : at + WORD] for at in range(0, len(data), WORD)])
    return _decode_static(types, words)


def _decode_static(types: PlainTypes, words: Iterator[bytes]) -> tuple[Any, ...]:
    return tuple(
        WORDS[each][1](next(words)) if isinstance(each, str) else _decode_static(each, words)
        for each in types
    )


# --- RLP ------------------------------------------------------------------------------------------


def rlp(item: int | bytes | Sequence[Any]) -> bytes:
    """Encode an integer, bytes, or a list of these (Yellow Paper, appendix B)."""
    if isinstance(item, bytes):
        size = len(item)
        if size == 1 and item[0] < 0x80:
            return item
        return (_SHORT[size] if size < 56 else _prefix(0x80, size)) + item
    if isinstance(item, int):
        return _rlp_int(item)
    return rlp_list(b"".join([rlp(each) for each in item]))


@lru_cache(1_024)
def _rlp_int(item: int) -> bytes:
    """Cached: consecutive transactions mostly have the same fees, gas limits and amounts."""
    return rlp(item.to_bytes((item.bit_length() + 7) // 8, "big"))


def rlp_list(body: bytes) -> bytes:
    """Encode a list from the concatenated encodings of its items."""
    return _prefix(0xC0, len(body)) + body


def _prefix(base: int, size: int) -> bytes:
    if size < 56:
        return bytes([base + size])
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([base + 55 + len(length)]) + length


_SHORT = [bytes([0x80 + size]) for size in range(56)]


def first_numbers(encoded: bytes, count: int) -> list[int]:
    """Decode the first `count` items of an RLP list: integers of at most 55 bytes each.

    The bytes after them may be missing.
    """
    at = 1 + (encoded[0] - 0xF7 if encoded[0] > 0xF7 else 0)
    found: list[int] = []
    for _ in range(count):
        first, at = encoded[at], at + 1
        size = max(0, first - 0x80)  # A number below 0x80 is its own encoding.
        found.append(first if first < 0x80 else int.from_bytes(encoded[at : at + size]))
        at += size
    return found
