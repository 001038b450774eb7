"""ABI and EIP-712 encoding with eth_abi; reverts read as errors of our own tree.

web3's contract layer costs milliseconds a read (speed.md §2), so the services encode here. Tests
hold every encoder against web3 and eth_account.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from functools import cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from workbench.chain.artifacts import load
from workbench.core import errors
from workbench.core.errors import WorkbenchError
from workbench.core.events import BlockRef, Event
from workbench.core.x402 import snake

OURS = ("SettlementVault", "FacilitatorHook", "PermitPuller", "MockUSDC", "YieldPoolShare")
ERROR_SOURCES = (*OURS, "PoolManager")
WRAPPED_ERROR = bytes.fromhex("90bfb865")
"""Uniswap's WrappedError(address,bytes4,bytes,bytes): how v4 passes a hook's revert on."""
ERROR, PANIC = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
"""Solidity's own Error(string) and Panic(uint256)."""
UNREADABLE = (DecodingError, ValueError, OverflowError)
"""What eth_abi raises for bytes that are not what they should be."""
SHOWN = 200
"""How many characters of a contract's own words are told."""


def hex_bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


def to_hex(data: bytes) -> str:
    return "0x" + data.hex()


def abi_type(item: dict[str, Any]) -> str:
    """The canonical type: structs as tuples of their members."""
    kind = str(item["type"])
    if not kind.startswith("tuple"):
        return kind
    members = ",".join(abi_type(member) for member in item["components"])
    return f"({members}){kind.removeprefix('tuple')}"


def signature(item: dict[str, Any]) -> str:
    return f"{item['name']}({','.join(abi_type(i) for i in item['inputs'])})"


def event_signature(contract: str, name: str) -> bytes:
    """The text whose hash is the event's first topic."""
    items = (item for item in load(contract).abi if item["type"] == "event")
    return signature(next(item for item in items if item["name"] == name)).encode()


@cache
def _functions(contract: str) -> dict[str, tuple[bytes, list[str], list[str]]]:
    found: dict[str, tuple[bytes, list[str], list[str]]] = {}
    for item in load(contract).abi:
        if item["type"] == "function":
            ins, outs = ([abi_type(i) for i in item[k]] for k in ("inputs", "outputs"))
            found[item["name"]] = (keccak(signature(item).encode())[:4], ins, outs)
    return found


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Calldata of a function that the contract does not overload."""
    selector, ins, _ = _functions(contract)[function]
    return selector + encode(ins, arguments)


def decode_result(contract: str, function: str, data: bytes) -> tuple[Any, ...]:
    """What a call of the function returned."""
    return decode(_functions(contract)[function][2], data)


def word(text: str) -> bytes:
    """32 bytes: the text in ASCII, filled up with zeros (how refund reasons stand on chain)."""
    return text.encode("ascii").ljust(32, b"\0")


def unword(data: bytes) -> str:
    return data.rstrip(b"\0").decode("ascii", "replace").lower()


# --- EIP-712 --------------------------------------------------------------------------------------


@cache
def type_hash(text: str) -> bytes:
    return keccak(text.encode())


@cache
def domain_separator(name: str, version: str, chain_id: int, contract: str) -> bytes:
    """EIP-712 domain with name, version, chainId and verifyingContract."""
    text = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
    kinds = ["bytes32", "bytes32", "bytes32", "uint256", "address"]
    hashed = [type_hash(text), keccak(name.encode()), keccak(version.encode())]
    return keccak(encode(kinds, [*hashed, chain_id, contract]))


def typed_digest(separator: bytes, struct: str, kinds: Sequence[str], values: Any) -> bytes:
    """The digest to sign: keccak(0x1901 ‖ domain ‖ keccak(type hash ‖ members)); static members."""
    struct_hash = keccak(encode(["bytes32", *kinds], [type_hash(struct), *values]))
    return keccak(b"\x19\x01" + separator + struct_hash)


# --- Logs -----------------------------------------------------------------------------------------


@cache
def _event_table(kinds: int) -> dict[str, tuple[type[Event], list[dict[str, Any]]]]:
    table: dict[str, tuple[type[Event], list[dict[str, Any]]]] = {}
    for kind in list(Event.kinds.values()):
        if not kind.contract:
            continue
        for item in load(kind.contract).abi:
            if item["type"] == "event" and item["name"] == kind.__name__:
                table[to_hex(keccak(signature(item).encode()))] = (kind, item["inputs"])
    return table


def decode_log(log: dict[str, Any], at_ms: int) -> Event | None:
    """A log as a fact, or None for an event nobody here has a class for."""
    known = _event_table(len(Event.kinds)).get(log["topics"][0]) if log["topics"] else None
    if known is None:
        return None
    kind, inputs = known
    values: dict[str, Any] = {}
    topics = iter(log["topics"][1:])
    body = [i for i in inputs if not i["indexed"]]
    plain = iter(decode([abi_type(i) for i in body], hex_bytes(log["data"])))
    for item in inputs:
        if item["indexed"]:
            (value,) = decode([abi_type(item)], hex_bytes(next(topics)))
        else:
            value = next(plain)
        _put(values, item, value)
    block = BlockRef(
        number=int(log["blockNumber"], 16),
        hash=log["blockHash"],
        tx=log["transactionHash"],
        log_index=int(log["logIndex"], 16),
    )
    subject = values.pop("settlement_id", "")
    wanted = {f.name for f in fields(kind)}
    members = {k: v for k, v in values.items() if k in wanted}
    return kind(subject=subject, at_ms=at_ms, source=kind.contract, block=block, **members)


def _put(values: dict[str, Any], item: dict[str, Any], value: Any) -> None:
    if item["type"] == "tuple":
        for member, inner in zip(item["components"], value, strict=True):
            _put(values, member, inner)
    elif item["name"] == "reason" and item["type"] == "bytes32":
        values["reason"] = unword(value)
    elif isinstance(value, bytes):
        values[snake(item["name"])] = to_hex(value)
    else:
        values[snake(item["name"])] = value


# --- Reverts --------------------------------------------------------------------------------------

_MEANING: dict[str, tuple[type[WorkbenchError], str]] = {
    "AllowanceTooLow": (errors.InsufficientAllowance, "Settlement failed: insufficient allowance"),
    "ERC20InsufficientAllowance": (
        errors.InsufficientAllowance,
        "Settlement failed: insufficient allowance",
    ),
    "BalanceTooLow": (errors.InsufficientFunds, "Settlement failed: insufficient balance"),
    "ERC20InsufficientBalance": (
        errors.InsufficientFunds,
        "Settlement failed: insufficient balance",
    ),
    "PartialFill": (errors.InsufficientOutput, "Swap failed: insufficient output"),
    "OverBudget": (errors.OverBudget, "Swap failed: it would cost more than the buyer's budget"),
    "OutsideBand": (errors.OutsideBand, "Swap failed: the rate is outside the band"),
    "StaleRate": (errors.StaleRate, "Swap failed: the reference rate is too old"),
    "BadStatus": (errors.StateMoved, "the settlement is already in another state"),
    "NotFinal": (errors.NotFinal, "the swap does not have its confirmations yet"),
    "ReorgDetected": (errors.StateMoved, "the swap's block has another hash now"),
    "DeadlinePassed": (errors.DeadlinePassed, "the deadline has passed"),
    "BadBuyerSignature": (errors.BadSignature, "the buyer's signature does not fit the terms"),
    "BadSellerSignature": (errors.BadSignature, "the seller's signature does not fit the terms"),
    "NotAParty": (errors.NotAParty, "only the settlement's buyer or seller may do this"),
    "AccessControlUnauthorizedAccount": (errors.NotAllowed, "the account lacks the role"),
    "DeadlineNotPassed": (errors.TooEarly, "its deadline has not passed yet"),
    "NothingToClaim": (errors.NothingToClaim, "nothing is parked for this account"),
    "NothingToRescue": (errors.NothingToRescue, "the vault owes all it holds of that token"),
    "Blocked": (errors.TokenRefused, "the token blocks one of the accounts"),
    "EnforcedPause": (errors.TokenRefused, "the token is paused"),
    "FeeOnTransfer": (errors.TokenRefused, "the token takes a fee on transfers"),
    "SafeERC20FailedOperation": (errors.TokenRefused, "the token refused the transfer"),
}
_HINTS: dict[type[WorkbenchError], str] = {
    errors.InsufficientAllowance: "Let the seller approve PermitPuller for its asset, and check "
    "that the buyer's permit covers its budget.",
    errors.InsufficientFunds: "The buyer needs its whole EURC budget, the seller the asset.",
    errors.InsufficientOutput: "The EURC/USDC pool lacks liquidity: buy less, or add some.",
    errors.OverBudget: "Raise the slippage tolerance (SLIPPAGE_BPS) and buy again.",
}


@cache
def _error_table() -> dict[bytes, tuple[str, list[str], list[str]]]:
    table: dict[bytes, tuple[str, list[str], list[str]]] = {}
    for contract in ERROR_SOURCES:
        for item in load(contract).abi:
            if item["type"] == "error":
                names = [i["name"] for i in item["inputs"]]
                kinds = [abi_type(i) for i in item["inputs"]]
                table[keccak(signature(item).encode())[:4]] = (item["name"], names, kinds)
    return table


def explain_revert(data: bytes) -> WorkbenchError:
    """Revert data as an error with a name, a cause and a next step. Never a bare selector.

    Never raises: strangers' contracts may write anything, at any length and depth.
    """
    while data[:4] == WRAPPED_ERROR:
        wrapped = _decoded(["address", "bytes4", "bytes", "bytes"], data[4:])
        data = wrapped[2] if wrapped else b""
    selector, body = data[:4], data[4:]
    if selector == ERROR and (told := _decoded(["bytes"], body)):
        text = told[0].decode("utf-8", "replace")
        return errors.Reverted(f"the contract refused: {text[:SHOWN]}.")
    if selector == PANIC and (told := _decoded(["uint256"], body)):
        return errors.Reverted(f"the contract panicked with code {told[0]}.")
    known = _error_table().get(selector)
    if known is None:
        return errors.Reverted("a contract refused without a reason that we know.")
    name, names, kinds = known
    values = (to_hex(v) if isinstance(v, bytes) else str(v) for v in _decoded(kinds, body) or ())
    facts = dict(zip(names, values, strict=False))
    kind, text = _MEANING.get(name, (errors.Reverted, f"the contract refused with {name}"))
    details = ", ".join(f"{key.strip('_')} {value[:SHOWN]}" for key, value in facts.items() if key)
    message = f"{text} ({details})." if details else f"{text}."
    return kind(message, hint=_HINTS.get(kind, ""), revert=name)


def _decoded(kinds: list[str], body: bytes) -> tuple[Any, ...] | None:
    """The values, or None where the bytes are not what the selector promises."""
    try:
        return decode(kinds, body)
    except UNREADABLE:
        return None
