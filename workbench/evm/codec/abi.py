"""ABI and EIP-712 encoding; reverts read as errors of our own tree.

web3's contract layer costs milliseconds a read, so the services encode here: plain values with
`words`, all others with eth_abi. Tests hold every encoder against eth_abi, web3 and eth_account.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import cache, lru_cache
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError

from workbench.core import errors
from workbench.core.errors import WorkbenchError
from workbench.core.facts import BlockRef, Event
from workbench.core.x402 import snake
from workbench.evm.build.artifacts import interface
from workbench.evm.codec.fast_abi import (
    WORD,
    WORDS,
    DecodePlan,
    EncodedWords,
    UnsupportedByFastAbi,
    decode_plain,
    encode_plain,
    encode_words,
    keccak,
    plan,
)
from workbench.evm.codec.jsonrpc import invalid

OURS = ("SettlementVault", "FacilitatorHook", "PermitPuller", "MockUSDC", "YieldPoolShare")
ERROR_SOURCES = (*OURS, "PayoutBatcher", "PoolManager")
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


def number_of(text: str, method: str = "eth_call") -> int:
    """A uint256: exactly one word of 0x hex. Raises RpcAnswerInvalid.

    A node that says less (an empty answer, say) would else be taken for one that says 0.
    """
    if len(text) != 2 + 2 * WORD:
        raise invalid(method, "it is not one word of 32 bytes, as a number is")
    return int(text, 16)


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


@dataclass(frozen=True, slots=True)
class AbiFunction:
    """`ins` and `outs`: canonical types; `plain_*`: how `words` takes them, None if it does not."""

    selector: bytes
    ins: list[str]
    outs: list[str]
    plain_ins: DecodePlan | None
    plain_outs: DecodePlan | None


def event_signature(contract: str, name: str) -> bytes:
    """The text whose hash is the event's first topic."""
    items = (item for item in interface(contract) if item["type"] == "event")
    return signature(next(item for item in items if item["name"] == name)).encode()


@cache
def _functions(contract: str) -> dict[str, AbiFunction]:
    found: dict[str, AbiFunction] = {}
    for item in interface(contract):
        if item["type"] == "function":
            ins, outs = ([abi_type(i) for i in item[k]] for k in ("inputs", "outputs"))
            selector = keccak(signature(item).encode())[:4]
            plains = plan(item["inputs"]), plan(item["outputs"])
            found[item["name"]] = AbiFunction(selector, ins, outs, *plains)
    return found


def encode_call(contract: str, function: str, *arguments: Any) -> bytes:
    """Calldata of a function that the contract does not overload."""
    known = _functions(contract)[function]
    if known.plain_ins is not None:
        with suppress(UnsupportedByFastAbi):
            return known.selector + encode_plain(known.plain_ins, arguments)
    return known.selector + encode(known.ins, arguments)


@lru_cache(1_024)
def decode_result(contract: str, function: str, data: bytes) -> tuple[Any, ...]:
    """What a call of the function returned. Between two blocks, the same is returned often."""
    known = _functions(contract)[function]
    if known.plain_outs is not None:
        with suppress(UnsupportedByFastAbi):
            return decode_plain(known.plain_outs, data)
    return decode(known.outs, data)


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
    return struct_digest(separator, struct, members(kinds, values))


def members(kinds: Sequence[str], values: Any) -> EncodedWords:
    """Static members as words, for `struct_digest` and for `encode_call` in place of the struct."""
    try:
        return EncodedWords(encode_words(kinds, values))
    except UnsupportedByFastAbi:
        return EncodedWords(encode(kinds, values))


def struct_digest(separator: bytes, struct: str, members: bytes) -> bytes:
    """`typed_digest` of members that are encoded already."""
    return keccak(b"\x19\x01" + separator + keccak(type_hash(struct) + members))


# --- Logs -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class EventDecoder:
    """An event that we have a class for. `words`: its members in the order of topics and data, each
    a field's name (None: no field of ours) and a type; None where one takes more than a word."""

    kind: type[Event]
    inputs: list[dict[str, Any]]
    words: list[tuple[str | None, str]] | None


@cache
def _event_table(kinds: int) -> dict[str, EventDecoder]:
    table: dict[str, EventDecoder] = {}
    for kind in list(Event.kinds.values()):
        if not kind.contract:
            continue
        for item in interface(kind.contract):
            if item["type"] == "event" and item["name"] == kind.__name__:
                topic = to_hex(keccak(signature(item).encode()))
                table[topic] = EventDecoder(kind, item["inputs"], _members(kind, item["inputs"]))
    return table


def _members(
    kind: type[Event], inputs: list[dict[str, Any]]
) -> list[tuple[str | None, str]] | None:
    indexed = [item for item in inputs if item["indexed"]]
    flat = [item for item in inputs if not item["indexed"]]
    while any(item["type"] == "tuple" for item in flat):
        flat = [i for item in flat for i in item.get("components", [item])]
    if not all(item["type"] in WORDS for item in (*indexed, *flat)):
        return None
    wanted = {f.name for f in fields(kind)} | {"settlement_id"}
    named = [(snake(item["name"]), item["type"]) for item in (*indexed, *flat)]
    return [(name if name in wanted else None, kind_of_word) for name, kind_of_word in named]


def decode_log(log: dict[str, Any], at_ms: int) -> Event | None:
    """A log as a fact, or None for an event nobody here has a class for.

    Several watchers in one process read the same logs: the same log is the same object.
    """
    place = (log["blockNumber"], log["blockHash"], log["transactionHash"], log["logIndex"])
    return _decode_log(at_ms, *place, tuple(log["topics"]), log["data"], len(Event.kinds))


@lru_cache(4_096)
def _decode_log(
    at_ms: int,
    number: str,
    block_hash: str,
    tx: str,
    log_index: str,
    topics: tuple[str, ...],
    data: str,
    kinds: int,
) -> Event | None:
    known = _event_table(kinds).get(topics[0]) if topics else None
    if known is None:
        return None
    try:
        values = _plain_values(known, topics, data)
    except UnsupportedByFastAbi:
        values = _values(known, topics, data)
    block = BlockRef(int(number, 16), block_hash, tx, int(log_index, 16))
    subject = values.pop("settlement_id", "")
    return known.kind(
        subject=subject, at_ms=at_ms, source=known.kind.contract, block=block, **values
    )


def _plain_values(known: EventDecoder, topics: Sequence[str], body: str) -> dict[str, Any]:
    """The members that have a field, where all are words. Raises NotPlain."""
    if known.words is None:
        raise UnsupportedByFastAbi
    data = hex_bytes("".join([topic[2:] for topic in topics[1:]]) + body[2:])
    if len(data) != WORD * len(known.words):
        raise UnsupportedByFastAbi
    values: dict[str, Any] = {}
    for n, (name, kind) in enumerate(known.words):
        value = WORDS[kind][1](data[n * WORD : (n + 1) * WORD])
        if name is not None:
            _put(values, name, kind, value)
    return values


def _values(known: EventDecoder, topics: Sequence[str], data: str) -> dict[str, Any]:
    """The members that have a field, by eth_abi."""
    values: dict[str, Any] = {}
    indexed = iter(topics[1:])
    body = [i for i in known.inputs if not i["indexed"]]
    plain = iter(decode([abi_type(i) for i in body], hex_bytes(data)))
    for item in known.inputs:
        if item["indexed"]:
            (value,) = decode([abi_type(item)], hex_bytes(next(indexed)))
        else:
            value = next(plain)
        _spread(values, item, value)
    wanted = {f.name for f in fields(known.kind)} | {"settlement_id"}
    return {k: v for k, v in values.items() if k in wanted}


def _spread(values: dict[str, Any], item: dict[str, Any], value: Any) -> None:
    if item["type"] == "tuple":
        for member, inner in zip(item["components"], value, strict=True):
            _spread(values, member, inner)
    else:
        _put(values, snake(item["name"]), item["type"], value)


def _put(values: dict[str, Any], name: str, kind: str, value: Any) -> None:
    if name == "reason" and kind == "bytes32":
        value = unword(value)
    values[name] = to_hex(value) if isinstance(value, bytes) else value


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


_OWED = ["address", "uint256", "uint256"]
ERC6093: dict[str, tuple[list[str], list[str]]] = {
    "ERC20InsufficientBalance": (["sender", "balance", "needed"], _OWED),
    "ERC20InsufficientAllowance": (["spender", "allowance", "needed"], _OWED),
    "ERC20InvalidSender": (["sender"], ["address"]),
    "ERC20InvalidReceiver": (["receiver"], ["address"]),
    "ERC20InvalidApprover": (["approver"], ["address"]),
    "ERC20InvalidSpender": (["spender"], ["address"]),
}
"""Errors of tokens: known also where no contract is compiled, as in the payouts' container."""


@cache
def _error_table() -> dict[bytes, tuple[str, list[str], list[str]]]:
    table: dict[bytes, tuple[str, list[str], list[str]]] = {}
    for name, (names, kinds) in ERC6093.items():
        table[keccak(f"{name}({','.join(kinds)})".encode())[:4]] = (name, names, kinds)
    for contract in ERROR_SOURCES:
        try:
            items = interface(contract)
        except (errors.NotCompiled, errors.ToolMissing):
            continue
        for item in items:
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


def explain_reason(code: str) -> WorkbenchError:
    """Why a settlement was not executed, by the code that is its reason on chain."""
    known = (meaning for meaning in _MEANING.values() if meaning[0].code == code)
    kind, text = next(known, (errors.SettlementError, "the settlement was refunded"))
    return kind(f"not executed: {text} ({code or 'no reason'}).", hint=_HINTS.get(kind, ""))


def _decoded(kinds: list[str], body: bytes) -> tuple[Any, ...] | None:
    """The values, or None where the bytes are not what the selector promises."""
    try:
        return decode(kinds, body)
    except UNREADABLE:
        return None
