"""What a token contract answers, and the Transfer events in its logs (ERC-20)."""

from __future__ import annotations

from typing import Any

from eth_abi.abi import decode
from eth_hash.auto import keccak

from workbench.core.errors import (
    InvalidSetting,
)
from workbench.evm.codec.abi import DECODING_ERRORS, hex_bytes, number_of, to_hex
from workbench.evm.rpc.client import NodeRevert, Rpc

TRANSFERRED = to_hex(keccak(b"Transfer(address,address,uint256)"))


async def ask_token(rpc: Rpc, token: str, function: str) -> bytes:
    """Return the answer of a token to a function without arguments; empty if it has none."""
    data = to_hex(keccak(function.encode())[:4])
    try:
        return hex_bytes(await rpc.call("eth_call", {"to": token, "data": data}, "latest"))
    except NodeRevert:
        return b""


async def token_decimals(rpc: Rpc, token: str, given: int | None) -> int:
    """Return the decimals of a token. `given`: the value of TOKEN_DECIMALS, or None.

    Raises InvalidSetting if neither the token nor the setting has them, or if the two differ:
    people who approve payouts would see wrong amounts.
    """
    said = await ask_token(rpc, token, "decimals()")
    known = int.from_bytes(said, "big") if len(said) == 32 else None
    if known is None or known > 36:
        if given is None:
            raise InvalidSetting(
                "the token does not say its decimals.",
                hint="Set TOKEN_DECIMALS.",
                setting="TOKEN_DECIMALS",
            )
        return given
    if given not in (None, known):
        raise InvalidSetting(
            f"TOKEN_DECIMALS is {given}, and the token says {known}: amounts would be shown "
            "wrongly.",
            hint="Leave TOKEN_DECIMALS empty, or correct TOKEN_ADDRESS.",
            setting="TOKEN_DECIMALS",
        )
    return known


def symbol_of(said: bytes) -> str:
    """Return the symbol from an answer (a string, or 32 bytes as in old tokens), printable only."""
    try:
        text = decode(["string"], said)[0] if len(said) != 32 else said.rstrip(b"\0").decode()
    except DECODING_ERRORS:
        return ""
    return "".join(c for c in text if c.isalnum() or c in ".-_$")[:20]


def amount_of(log: dict[str, Any]) -> int:
    """Return the amount of an ERC-20 Transfer log. Raises RpcAnswerInvalid."""
    return number_of(log["data"], "eth_getLogs")
