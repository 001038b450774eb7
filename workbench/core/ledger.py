"""Double entry in integers: accounts, transfers, holds, and the hash chain over them.

A transfer moves `amount` from its debit account to its credit account, both of one ledger (one
asset). A hold (`pending`) reserves it; it is posted or voided once, as a whole. The database
enforces the same rules (`store/ledger/migrations`). This module states them in Python, to check the
database against.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import Enum

from workbench.core.errors import InsufficientCredits, LedgerBroken, LedgerRefused

MAX_AMOUNT = 10**36 - 1
"""Largest transfer or balance: 10^18 whole tokens of 18 decimals."""
GENESIS = "0" * 64
"""The hash before the first transfer."""


class TransferKind(Enum):
    """The effect of a transfer: move, hold, or end a hold."""

    POSTED = "posted"
    PENDING = "pending"
    POST = "post"
    VOID = "void"


@dataclass(frozen=True, slots=True)
class Account:
    """Sums of one account, in base units of its ledger. None is negative."""

    id: str
    ledger: str
    no_overdraft: bool = True
    debits_pending: int = 0
    debits_posted: int = 0
    credits_pending: int = 0
    credits_posted: int = 0

    @property
    def balance(self) -> int:
        """Credits minus debits."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> int:
        """The balance minus what is held."""
        return self.balance - self.debits_pending


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerTransfer:
    """One immutable line. `ref`: its subject (a payout's id, a block). `at_ms`: Unix ms."""

    id: str
    kind: TransferKind
    debit: str
    credit: str
    amount: int
    reason: str
    at_ms: int
    ref: str = ""
    pending_id: str | None = None


def resolved(
    hold: LedgerTransfer, identity: str, kind: TransferKind, reason: str, at_ms: int
) -> LedgerTransfer:
    """Return the transfer that posts or voids a hold."""
    return replace(hold, id=identity, kind=kind, pending_id=hold.id, reason=reason, at_ms=at_ms)


def link(previous: str, seq: int, transfer: LedgerTransfer) -> str:
    """Return the hash of a line: SHA-256 (64 hex digits) over the previous hash and the content."""
    told = {name: getattr(transfer, name) for name in LedgerTransfer.__slots__}
    told |= {"kind": transfer.kind.value, "seq": seq, "previous": previous}
    text = json.dumps(told, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def moved(debit: Account, credit: Account, transfer: LedgerTransfer) -> tuple[Account, Account]:
    """Return both accounts after a transfer.

    Raises LedgerRefused for an invalid transfer, InsufficientCredits for an overdraft.
    """
    if not 0 < transfer.amount <= MAX_AMOUNT:
        raise LedgerRefused(f"a transfer of {transfer.amount} is out of bounds.")
    if debit.id == credit.id or debit.ledger != credit.ledger:
        raise LedgerRefused(f"{debit.id} to {credit.id}: not two accounts of one ledger.")
    pending, posted = _PARTS[transfer.kind]
    pending, posted = pending * transfer.amount, posted * transfer.amount
    debit = replace(
        debit,
        debits_pending=debit.debits_pending + pending,
        debits_posted=debit.debits_posted + posted,
    )
    credit = replace(
        credit,
        credits_pending=credit.credits_pending + pending,
        credits_posted=credit.credits_posted + posted,
    )
    if min(debit.debits_pending, credit.credits_pending) < 0:
        raise LedgerRefused(f"{transfer.id} ends more than is held.")
    if (
        debit.no_overdraft
        and debit.available < 0
        and transfer.kind in (TransferKind.POSTED, TransferKind.PENDING)
    ):
        raise InsufficientCredits(f"{debit.id} has not {transfer.amount} to give.")
    return debit, credit


_PARTS = {
    TransferKind.POSTED: (0, 1),
    TransferKind.PENDING: (1, 0),
    TransferKind.POST: (-1, 1),
    TransferKind.VOID: (-1, 0),
}
"""For each kind: the factors of the amount in the pending and in the posted sum."""


@dataclass
class LedgerModel:
    """The ledger in memory: what the database must contain, computed by other code."""

    accounts: dict[str, Account] = field(default_factory=dict)
    transfers: dict[str, LedgerTransfer] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    """Id of the hold, by the id of the transfer that ended it."""
    head: str = GENESIS

    def open(self, account: Account) -> None:
        """Add an empty account. Raises LedgerRefused if the id exists."""
        if account.id in self.accounts:
            raise LedgerRefused(f"the account {account.id} exists.")
        self.accounts[account.id] = account

    def add(self, transfer: LedgerTransfer) -> None:
        """Add a line. Raises LedgerRefused or InsufficientCredits, and then nothing has moved."""
        if transfer.id in self.transfers:
            raise LedgerRefused(f"the transfer {transfer.id} exists.")
        self._check_hold(transfer)
        try:
            debit, credit = self.accounts[transfer.debit], self.accounts[transfer.credit]
        except KeyError as why:
            raise LedgerRefused(f"there is no account {why.args[0]}.") from None
        debit, credit = moved(debit, credit, transfer)
        self.accounts |= {debit.id: debit, credit.id: credit}
        self.transfers[transfer.id] = transfer
        if transfer.pending_id is not None:
            self.ended[transfer.pending_id] = transfer.id
        self.head = link(self.head, len(self.transfers), transfer)

    def _check_hold(self, transfer: LedgerTransfer) -> None:
        """Raise LedgerRefused unless the transfer ends an open hold, with its values."""
        if (transfer.kind in (TransferKind.POST, TransferKind.VOID)) != (
            transfer.pending_id is not None
        ):
            raise LedgerRefused(f"{transfer.id}: a {transfer.kind.value} with this hold.")
        if transfer.pending_id is None:
            return
        hold = self.transfers.get(transfer.pending_id)
        same = hold is not None and (hold.kind, hold.debit, hold.credit, hold.amount) == (
            TransferKind.PENDING,
            transfer.debit,
            transfer.credit,
            transfer.amount,
        )
        if not same:
            raise LedgerRefused(f"{transfer.id} does not fit the hold {transfer.pending_id}.")
        if transfer.pending_id in self.ended:
            raise LedgerRefused(f"the hold {transfer.pending_id} has ended before.")


def check(
    accounts: Iterable[Account], lines: Iterable[tuple[int, str, LedgerTransfer]]
) -> tuple[int, str]:
    """Verify a ledger. Return the number of lines and the last hash.

    `lines`: sequence number, stored hash, transfer, in order. Raises LedgerBroken with the first
    changed line, or with the account whose sums differ from its lines.
    """
    stored = {account.id: account for account in accounts}
    books = LedgerModel({a.id: Account(a.id, a.ledger, a.no_overdraft) for a in stored.values()})
    for number, (seq, kept, transfer) in enumerate(lines, 1):
        if seq != number:
            raise LedgerBroken(f"line {number} is missing: the next one is {seq}.")
        try:
            books.add(transfer)
        except (LedgerRefused, InsufficientCredits) as why:
            raise LedgerBroken(f"line {seq} cannot be: {why}") from why
        if books.head != kept:
            raise LedgerBroken(f"line {seq} is not what was written: its hash does not fit.")
    for identity, account in stored.items():
        if books.accounts[identity] != account:
            raise LedgerBroken(f"the sums of {identity} are not those of its transfers.")
    return len(books.transfers), books.head
