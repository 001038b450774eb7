"""EIP-712: domain separators and digests of typed data."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from eth_abi.abi import encode

from workbench.evm.codec.fast_abi import (
    EncodedStruct,
    UnsupportedByFastAbi,
    encode_words,
    keccak,
)


@cache
def type_hash(text: str) -> bytes:
    """Return the hash of a struct's type (EIP-712 `encodeType`)."""
    return keccak(text.encode())


@cache
def domain_separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    """Return the hash of a domain with name, version, chainId and verifyingContract."""
    text = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    kinds = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    hashed = [type_hash(text), keccak(name.encode()), keccak(version.encode())]
    return keccak(encode(kinds, [*hashed, chain_id, contract]))


def typed_digest(separator: bytes, struct: str, kinds: Sequence[str], values: Any) -> bytes:
    """Return the digest to sign: keccak(0x1901 ‖ domain ‖ keccak(type hash ‖ members)).

    `kinds`: the ABI types of the members, all static.
    """
    return struct_digest(separator, struct, encode_members(kinds, values))


def encode_members(kinds: Sequence[str], values: Any) -> EncodedStruct:
    """Encode static members, for `struct_digest` and for `encode_call` in place of the struct."""
    try:
        return EncodedStruct(encode_words(kinds, values))
    except UnsupportedByFastAbi:
        return EncodedStruct(encode(kinds, values))


def struct_digest(separator: bytes, struct: str, members: bytes) -> bytes:
    """Return `typed_digest` of members that are already encoded."""
    return keccak(b"\x19\x01" + separator + keccak(type_hash(struct) + members))
