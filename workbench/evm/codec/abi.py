"""ABI encoding of calls and results, and conversions between bytes and 0x hex.

web3's contract layer costs milliseconds a read, so the services encode here: simple values with
`fast_abi`, all others with eth_abi. Tests compare every encoder with eth_abi and web3.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from workbench.evm.build.artifacts import interface
from workbench.evm.codec.fast_abi import (
    WORD,
    PlainTypes,
    UnsupportedByFastAbi,
    decode_plain,
    encode_plain,
    keccak,
    to_plain,
)
from workbench.evm.codec.jsonrpc import invalid

OURS = ("SettlementVault", "FacilitatorHook", "PermitPuller", "MockUSDC", "YieldPoolShare")
"""The contracts whose functions and events the services use."""
DECODING_ERRORS = (DecodingError, ValueError, OverflowError)
"""What eth_abi raises for bytes that do not fit the types."""


def hex_bytes(text: str) -> bytes:
    """Convert hex, with or without 0x. Raises ValueError."""
    return bytes.fromhex(text.removeprefix("0x"))


def number_of(text: str, method: str = "eth_call") -> int:
    """Decode a uint256: exactly one word of 0x hex. Raises RpcAnswerInvalid.

    Without this check an empty answer would be read as 0. `method`: for the error message.
    """
    if len(text) != 2 + 2 * WORD:
        raise invalid(method, "it is not a number (one word of 32 bytes)")
    return int(text, 16)


def to_hex(data: bytes) -> str:
    """Convert to hex with 0x."""
    return "0x" + data.hex()


def abi_type(item: dict[str, Any]) -> str:
    """Return the canonical type of an ABI item: a struct as the tuple of its members."""
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    members = ",".join(abi_type(member) for member in item["components"])
    return f"({members}){kind.removeprefix('tuple')}"


def signature(item: dict[str, Any]) -> str:
    """Return the text whose hash is a function's selector or an event's topic."""
    return f"{item['name']}({','.join(abi_type(i) for i in item['inputs'])})"


@dataclass(frozen=True, slots=True)
class AbiFunction:
    """A function of a contract."""

    selector: bytes
    """The first four bytes of its calldata."""
    inputs: list[str]
    """Canonical types of the arguments."""
    outputs: list[str]
    """Canonical types of the results."""
    plain_inputs: PlainTypes | None
    """The arguments' types for `fast_abi`; None if it does not support them."""
    plain_outputs: PlainTypes | None
    """The results' types for `fast_abi`; None if it does not support them."""


def event_signature(contract: str, name: str) -> bytes:
    """Return the text whose hash is the event's first topic."""
    items = (item for item in interface(contract) if item["type"] == "event")
    return signature(next(item for item in items if item["name"] == name)).encode()


@cache
def _functions(contract: str) -> dict[str, AbiFunction]:
    found: dict[str, AbiFunction] = {}
    for item in interface(contract):
        if item["type"] == "function":
            found[item["name"]] = AbiFunction(
                selector=keccak(signature(item).encode())[:4],
                inputs=[abi_type(each) for each in item["inputs"]],
                outputs=[abi_type(each) for each in item["outputs"]],
                plain_inputs=to_plain(item["inputs"]),
                plain_outputs=to_plain(item["outputs"]),
            )
    return found


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Return the calldata of a function that the contract does not overload."""
    described = _functions(contract)[function]
    if described.plain_inputs is not None:
        with suppress(UnsupportedByFastAbi):
            return described.selector + encode_plain(described.plain_inputs, arguments)
    return described.selector + encode(described.inputs, arguments)


@lru_cache(1_024)
def decode_result(contract: str, function: str, data: bytes) -> tuple[Any, ...]:
    """Decode what a function returned. Raises one of DECODING_ERRORS.

    Cached: between two blocks most calls return the same bytes.
    """
    described = _functions(contract)[function]
    if described.plain_outputs is not None:
        with suppress(UnsupportedByFastAbi):
            return decode_plain(described.plain_outputs, data)
    return decode(described.outputs, data)


def text_to_word(text: str) -> bytes:
    """Return ASCII text as bytes32, padded with zeros: the form of refund reasons on chain."""
    return text.encode("ascii").ljust(32, b"\0")


def word_to_text(data: bytes) -> str:
    """Return the text of a bytes32 in lower case. Any bytes can be read."""
    return data.rstrip(b"\0").decode("ascii", "replace").lower()
