"""Many payouts in one transaction of `contracts/PayoutBatcher.sol`: the call and its outcomes.

The contract pays each id once. The id of a payment follows from the payout id, so a payout is not
paid twice through it, whatever happens to the database.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode, encode
from eth_hash.auto import keccak

from workbench.core.errors import (
    ContractNotFound,
    InsufficientAllowance,
    InvalidSetting,
    SigningRefused,
)
from workbench.core.payout import ACT, Payout, PayoutOutcome, batch_gas
from workbench.core.ports import ContractCall
from workbench.core.x402 import ZERO_ADDRESS
from workbench.evm.codec.abi import DECODING_ERRORS, hex_bytes, number_of, to_hex
from workbench.evm.codec.jsonrpc import invalid
from workbench.evm.codec.reverts import explain_revert
from workbench.evm.rpc.client import NodeRevert, Rpc

CODE_HASH = "0xb388cc6c22f633aafc686bd22c11124f05a0bf877ed9a7673363f5b84087e326"
"""Keccak of the code that PAYOUT_BATCHER must have, because verdicts rely on its events."""
PAYMENTS = "(bytes32,address,uint256)[]"
PAY_NATIVE = keccak(f"payNative({PAYMENTS})".encode())[:4]
PAY_TOKEN = keccak(f"payToken(address,{PAYMENTS})".encode())[:4]
APPROVE = keccak(b"approve(address,uint256)")[:4]
ALLOW = "approve"
"""The act that lets the contract move the wallet's token."""
ENDLESS = 2**256 - 1
PAID, FAILED, SKIPPED = (
    to_hex(keccak(text.encode()))
    for text in (
        "Paid(address,bytes32,address,address,uint256)",
        "Failed(address,bytes32,address,address,uint256,bytes)",
        "Skipped(address,bytes32)",
    )
)
WOULD_FAIL = 1
"""A value of `PayoutBatcher.Outcome`: Paid, Failed, Skipped."""
TransferTuple = tuple[str, str, int]


def payment_id(payout_id: str) -> bytes:
    """Return the id under which the contract pays a payout once."""
    return keccak(payout_id.encode())


def batch_id(payouts: Sequence[Payout]) -> str:
    """Return the name of a batch: the digest of its content, in order."""
    return to_hex(keccak(b"".join(payment_id(payout.id) for payout in payouts)))


@dataclass(frozen=True, slots=True)
class BatchItem:
    """One payment of a batch. `to` in lower case."""

    id: bytes
    to: str
    amount: int


@dataclass(frozen=True, slots=True)
class Batch:
    """The content of a batch transaction to the contract at `to`. `token`: None for native
    currency."""

    to: str
    token: str | None
    value: int
    items: tuple[BatchItem, ...]

    def share(self, identity: bytes, gas_wei: int) -> int:
        """Return one payment's share of the gas cost. All shares together are the whole cost."""
        place = next(n for n, item in enumerate(self.items) if item.id == identity)
        each, rest = divmod(gas_wei, len(self.items))
        return each + (place < rest)


def encoded(payouts: Sequence[Payout], token: str | None) -> bytes:
    """Return the calldata of a batch."""
    payments = [(payment_id(p.id), p.address, p.units) for p in payouts]
    if token is None:
        return PAY_NATIVE + encode([PAYMENTS], [payments])
    return PAY_TOKEN + encode(["address", PAYMENTS], [token, payments])


def read(fields: dict[str, Any]) -> Batch | None:
    """Return a transaction as a batch, or None for another call. Raises SigningRefused."""
    data = bytes(fields["data"])
    if data[:4] not in (PAY_NATIVE, PAY_TOKEN):
        return None
    try:
        if data[:4] == PAY_NATIVE:
            token, (payments,) = None, decode([PAYMENTS], data[4:])
        else:
            token, payments = decode(["address", PAYMENTS], data[4:])
    except DECODING_ERRORS as why:
        raise SigningRefused("a batch that cannot be decoded.") from why
    items = tuple(BatchItem(identity, to.lower(), amount) for identity, to, amount in payments)
    return Batch(to_hex(bytes(fields["to"])), token, fields["value"], items)


def allowing(batcher: str) -> bytes:
    """Return the calldata that lets the contract move the caller's token."""
    return APPROVE + encode(["address", "uint256"], [batcher, ENDLESS])


# --- What came of it ---


@dataclass(frozen=True, slots=True)
class BatchEvent:
    """One event of the contract about a payment."""

    kind: str
    to: str = ""
    token: str = ""
    amount: int = 0
    reason: bytes = b""


def outcomes(
    batch: Batch, payer: str, receipt: dict[str, Any], moved: Sequence[TransferTuple]
) -> dict[bytes, tuple[PayoutOutcome, str]]:
    """Return for each payment its outcome and the reason, by id. `moved`: the token's transfers.

    Paid: the contract reports the payment once, with the right values, and the token moved. A
    skipped payment was paid before.
    """
    if int(receipt["status"], 16) != 1:
        return dict.fromkeys(_ids(batch), (PayoutOutcome.REFUSED, "the transaction reverted"))
    told = _events_of(batch.to, payer, receipt["logs"])
    found = {item.id: _outcome(batch, item, told.get(item.id, [])) for item in batch.items}
    paid = [i for i in batch.items if [t.kind for t in told.get(i.id, [])] == [PAID]]
    if batch.token is not None and not _is_moved(payer, paid, moved):
        wrong = "the token moved something else than what was owed"
        return dict.fromkeys(_ids(batch), (PayoutOutcome.WRONG, wrong))
    return found


def _ids(batch: Batch) -> list[bytes]:
    return [item.id for item in batch.items]


def _outcome(batch: Batch, item: BatchItem, told: list[BatchEvent]) -> tuple[PayoutOutcome, str]:
    """Return the outcome of one payment and its reason, from the events of the batch."""
    if len(told) != 1:
        return PayoutOutcome.WRONG, f"the batch tells {len(told)} times what came of it"
    (one,) = told
    if one.kind == SKIPPED:
        return PayoutOutcome.PAID, "it was paid before"
    if (one.to, one.token, one.amount) != (item.to, batch.token or ZERO_ADDRESS, item.amount):
        return PayoutOutcome.WRONG, "the batch tells of another payment"
    if one.kind == PAID:
        return PayoutOutcome.PAID, ""
    who = "the receiver" if batch.token is None else "the token"
    return PayoutOutcome.REFUSED, f"{who} refused: {explain_revert(one.reason).message.rstrip('.')}"


def _events_of(
    batcher: str, payer: str, logs: Sequence[dict[str, Any]]
) -> dict[bytes, list[BatchEvent]]:
    """Return the contract's events about payments of this payer, by id."""
    found: dict[bytes, list[BatchEvent]] = {}
    for log in logs:
        topics = log["topics"]
        if log["address"].lower() != batcher or topics[:1] not in ([PAID], [FAILED], [SKIPPED]):
            continue
        try:
            sender, identity, one = _read_event(topics, log["data"])
        except (*DECODING_ERRORS, LookupError) as why:
            reason = "a log of the batch is not of the form of its event"
            raise invalid("eth_getTransactionReceipt", reason, "logs.data") from why
        if sender == payer:
            found.setdefault(identity, []).append(one)
    return found


def _read_event(topics: list[str], data: str) -> tuple[str, bytes, BatchEvent]:
    """Return payer, id, and content of an event."""
    sender, identity = "0x" + topics[1][-40:].lower(), hex_bytes(topics[2])
    if topics[0] == SKIPPED:
        return sender, identity, BatchEvent(SKIPPED)
    kinds = ["address", "uint256", "bytes"][: 2 + (topics[0] == FAILED)]
    token, amount, *reason = decode(kinds, hex_bytes(data))
    to = "0x" + topics[3][-40:].lower()
    return sender, identity, BatchEvent(topics[0], to, token, amount, b"".join(reason))


def _is_moved(payer: str, paid: Sequence[BatchItem], moved: Sequence[TransferTuple]) -> bool:
    """Return True if exactly these payments left the wallet and stayed with the receivers."""
    out = Counter((to, amount) for sender, to, amount in moved if sender == payer)
    owed = Counter((item.to, item.amount) for item in paid)
    due, came = Counter[str](), Counter[str]()
    for item in paid:
        due[item.to] += item.amount
    for sender, to, amount in moved:
        came[to] += amount
        came[sender] -= amount
    return out == owed and all(came[to] == amount for to, amount in due.items())


# --- The contract ---


class EvmBatchContract:
    """The contract at `address`, as one wallet uses it. See `core.ports.BatchContract`."""

    def __init__(self, rpc: Rpc, *, payer: str, token: str | None, address: str, most: int) -> None:
        self._rpc, self._payer, self._token = rpc, payer, token
        self.address, self.most = address, most

    async def check(self) -> None:
        """Raise ContractNotFound or InvalidSetting unless the contract has our code and a block
        holds a batch."""
        code = await self._rpc.call("eth_getCode", self.address, "latest")
        if code in ("0x", None):
            raise ContractNotFound(
                f"Contract not found: no code at {self.address} (PAYOUT_BATCHER).",
                hint="`workbench deploy` puts one on any chain; or leave PAYOUT_BATCH at 1.",
            )
        if to_hex(keccak(hex_bytes(code))) != CODE_HASH:
            raise InvalidSetting(
                f"the contract at {self.address} (PAYOUT_BATCHER) is not this PayoutBatcher.",
                hint="`workbench deploy` puts the right one on any chain, and names it.",
            )
        block = await self._rpc.call("eth_getBlockByNumber", "latest", False)
        room, needed = int(block["gasLimit"], 16), batch_gas(self.most, is_token=bool(self._token))
        if needed > room:
            raise InvalidSetting(
                f"PAYOUT_BATCH={self.most} may take {needed:,} gas, and a block has {room:,}.",
                hint="Set a smaller PAYOUT_BATCH.",
            )

    def name(self, payouts: Sequence[Payout]) -> str:
        return batch_id(payouts)

    def call(self, payouts: Sequence[Payout]) -> ContractCall:
        data = encoded(payouts, self._token)
        value = 0 if self._token else sum(payout.units for payout in payouts)
        gas = batch_gas(len(payouts), is_token=self._token is not None)
        return ContractCall(ACT, self.address, data, value, gas)

    async def would_pay(self, payouts: Sequence[Payout]) -> list[bool]:
        """Return for each payout whether the contract would pay it now (simulated)."""
        call = self.call(payouts)
        request = {"from": self._payer, "to": call.to, "data": to_hex(call.data)}
        request |= {"value": hex(call.value), "gas": hex(call.gas)}
        try:
            said = await self._rpc.call("eth_call", request, "latest")
        except NodeRevert as why:
            raise explain_revert(hex_bytes(why.data)) from why
        try:
            (found,) = decode(["uint8[]"], hex_bytes(said))
        except DECODING_ERRORS as why:
            raise invalid("eth_call", "it does not say what a batch would do") from why
        if len(found) != len(payouts):
            raise invalid("eth_call", "it tells of another batch")
        return [one != WOULD_FAIL for one in found]

    async def may_move(self, units: int) -> bool:
        """Return True if the contract may move `units` of the token."""
        if self._token is None:
            return True
        data = keccak(b"allowance(address,address)")[:4]
        data += encode(["address", "address"], [self._payer, self.address])
        request = {"to": self._token, "data": to_hex(data)}
        try:
            said = await self._rpc.call("eth_call", request, "latest")
        except NodeRevert as why:
            raise InsufficientAllowance(
                "the token does not tell its allowances.",
                hint="This token cannot be paid in batches: set PAYOUT_BATCH=1.",
            ) from why
        return number_of(said) >= units

    def allow(self) -> ContractCall:
        if self._token is None:
            raise SigningRefused("native currency needs no allowance.")
        return ContractCall(ALLOW, self._token, allowing(self.address))
