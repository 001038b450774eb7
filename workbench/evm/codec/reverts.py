"""Revert data, explained as errors of `core.errors` with a cause and a next step."""

from __future__ import annotations

from functools import cache
from typing import Any

from eth_abi.abi import decode

from workbench.core import errors
from workbench.core.errors import WorkbenchError
from workbench.evm.build.artifacts import interface
from workbench.evm.codec.abi import DECODING_ERRORS, OURS, abi_type, signature, to_hex
from workbench.evm.codec.fast_abi import keccak

ERROR_SOURCES = (*OURS, "PayoutBatcher", "PoolManager")
"""The contracts whose custom errors are known by name."""
WRAPPED_ERROR = bytes.fromhex("90bfb865")
"""Selector of Uniswap's WrappedError(address,bytes4,bytes,bytes): wraps a hook's revert."""
ERROR, PANIC = bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71")
"""Selectors of Solidity's own Error(string) and Panic(uint256)."""
MAX_SHOWN = 200
"""How many characters of a contract's own text a message repeats."""

MEANINGS: dict[str, tuple[type[WorkbenchError], str]] = {
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
    "BadBuyerSignature": (errors.BadSignature, "the buyer's signature does not match the terms"),
    "BadSellerSignature": (errors.BadSignature, "the seller's signature does not match the terms"),
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
HINTS: dict[type[WorkbenchError], str] = {
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
"""Errors of tokens: names and types of their members. They are known even where no contract is
compiled, as in the payouts' container."""


@cache
def _error_table() -> dict[bytes, tuple[str, list[str], list[str]]]:
    """Return name, members' names and members' types of each error, by selector."""
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
    """Return revert data as an error with a name, a cause and a next step.

    Never raises: other contracts may return any data, of any length and depth.
    """
    while data[:4] == WRAPPED_ERROR:
        wrapped = _decoded(["address", "bytes4", "bytes", "bytes"], data[4:])
        data = wrapped[2] if wrapped else b""
    selector, body = data[:4], data[4:]
    if selector == ERROR and (decoded := _decoded(["bytes"], body)):
        text = decoded[0].decode("utf-8", "replace")
        return errors.Reverted(f"the contract refused: {text[:MAX_SHOWN]}.")
    if selector == PANIC and (decoded := _decoded(["uint256"], body)):
        return errors.Reverted(f"the contract panicked with code {decoded[0]}.")
    described = _error_table().get(selector)
    if described is None:
        return errors.Reverted("a contract reverted with an unknown reason.")
    name, names, kinds = described
    values = (to_hex(v) if isinstance(v, bytes) else str(v) for v in _decoded(kinds, body) or ())
    facts = dict(zip(names, values, strict=False))
    kind, text = MEANINGS.get(name, (errors.Reverted, f"the contract refused with {name}"))
    details = ", ".join(
        f"{key.strip('_')} {value[:MAX_SHOWN]}" for key, value in facts.items() if key
    )
    message = f"{text} ({details})." if details else f"{text}."
    return kind(message, hint=HINTS.get(kind, ""), revert=name)


def explain_reason(code: str) -> WorkbenchError:
    """Return why a settlement was not executed. `code`: the refund's reason on chain."""
    meanings = (meaning for meaning in MEANINGS.values() if meaning[0].code == code)
    kind, text = next(meanings, (errors.SettlementError, "the settlement was refunded"))
    return kind(f"not executed: {text} ({code or 'no reason'}).", hint=HINTS.get(kind, ""))


def _decoded(kinds: list[str], body: bytes) -> tuple[Any, ...] | None:
    """Return the values, or None where the bytes do not fit the selector."""
    try:
        return decode(kinds, body)
    except DECODING_ERRORS:
        return None
