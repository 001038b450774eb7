"""Double entry in Python: each rule refuses what it is for, and a changed line is found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workbench.core.errors import InsufficientCredits, LedgerBroken, LedgerRefused
from workbench.core.ledger import (
    GENESIS,
    MAX_AMOUNT,
    Account,
    LedgerModel,
    LedgerTransfer,
    TransferKind,
    check,
    link,
    resolved,
)


def books() -> LedgerModel:
    """Issuance, one user with 100, and where spent credits go."""
    kept = LedgerModel()
    kept.open(Account("issuance", "credit", no_overdraft=False))
    kept.open(Account("redeemed", "credit", no_overdraft=False))
    kept.open(Account("user", "credit"))
    kept.open(Account("treasury", "wei", no_overdraft=False))
    kept.add(line("earned", TransferKind.POSTED, "issuance", "user", 100))
    return kept


def line(identity: str, kind: TransferKind, debit: str, credit: str, amount: int) -> LedgerTransfer:
    return LedgerTransfer(
        id=identity, kind=kind, debit=debit, credit=credit, amount=amount, reason="test", at_ms=1
    )


def hold(amount: int = 60) -> LedgerTransfer:
    return line("hold", TransferKind.PENDING, "user", "redeemed", amount)


def test_a_hold_is_spent_once() -> None:
    """Set aside, then posted: free credits fall at once, the balance at the end."""
    kept = books()
    kept.add(hold())
    assert (100, 40) == (kept.accounts["user"].balance, kept.accounts["user"].available)
    kept.add(resolved(hold(), "post", TransferKind.POST, "paid", 2))
    assert (40, 40) == (kept.accounts["user"].balance, kept.accounts["user"].available)
    for kind in (TransferKind.POST, TransferKind.VOID):
        with pytest.raises(LedgerRefused, match="ended before"):
            kept.add(resolved(hold(), "again", kind, "again", 3))


def test_a_void_gives_it_back() -> None:
    kept = books()
    kept.add(hold())
    kept.add(resolved(hold(), "void", TransferKind.VOID, "refunded", 2))
    assert Account("user", "credit", credits_posted=100) == kept.accounts["user"]


@pytest.mark.parametrize("kind", [TransferKind.POSTED, TransferKind.PENDING])
def test_nobody_spends_what_is_held(kind: TransferKind) -> None:
    kept = books()
    kept.add(hold())
    before = kept.accounts.copy()
    with pytest.raises(InsufficientCredits):
        kept.add(line("more", kind, "user", "redeemed", 41))
    assert before == kept.accounts
    kept.add(line("rest", kind, "user", "redeemed", 40))


@pytest.mark.parametrize(
    ("transfer", "why"),
    [
        (line("x", TransferKind.POSTED, "user", "redeemed", 0), "out of bounds"),
        (line("x", TransferKind.POSTED, "user", "redeemed", -1), "out of bounds"),
        (line("x", TransferKind.POSTED, "issuance", "user", MAX_AMOUNT + 1), "out of bounds"),
        (line("x", TransferKind.POSTED, "user", "user", 1), "two accounts"),
        (line("x", TransferKind.POSTED, "user", "treasury", 1), "two accounts"),
        (line("x", TransferKind.POSTED, "user", "nobody", 1), "no account nobody"),
        (line("earned", TransferKind.POSTED, "issuance", "user", 1), "exists"),
        (line("x", TransferKind.POST, "user", "redeemed", 60), "with this hold"),
        (replace(hold(), id="x", pending_id="hold"), "with this hold"),
        (resolved(hold(59), "x", TransferKind.POST, "other", 2), "does not fit"),
        (resolved(replace(hold(), id="none"), "x", TransferKind.POST, "other", 2), "does not fit"),
    ],
)
def test_nonsense_is_refused(transfer: LedgerTransfer, why: str) -> None:
    kept = books()
    kept.add(hold())
    before = (kept.accounts.copy(), kept.head)
    with pytest.raises(LedgerRefused, match=why):
        kept.add(transfer)
    assert before == (kept.accounts, kept.head)


def written() -> tuple[list[Account], list[tuple[int, str, LedgerTransfer]]]:
    """A ledger as a database holds it."""
    kept = books()
    kept.add(hold())
    kept.add(resolved(hold(), "post", TransferKind.POST, "paid", 2))
    lines, head = [], GENESIS
    for seq, transfer in enumerate(kept.transfers.values(), 1):
        head = link(head, seq, transfer)
        lines.append((seq, head, transfer))
    return list(kept.accounts.values()), lines


def test_a_ledger_that_is_right_is_counted() -> None:
    accounts, lines = written()
    assert (3, lines[-1][1]) == check(accounts, lines)
    assert (0, GENESIS) == check([], [])


def test_any_change_is_found() -> None:
    """An amount, a name, a time, a line less, two lines exchanged, a sum."""
    accounts, lines = written()
    seq, kept, first = lines[0]
    changes = {"amount": 101, "credit": "redeemed", "reason": "gift", "at_ms": 2, "ref": "x"}
    for name, value in changes.items():
        changed = [(seq, kept, replace(first, **{name: value})), *lines[1:]]  # type: ignore[arg-type]
        with pytest.raises(LedgerBroken):
            check(accounts, changed)
    for broken in (lines[1:], [lines[1], lines[0], lines[2]], lines[:2]):
        with pytest.raises(LedgerBroken):
            check(accounts, broken)
    richer = [replace(a, credits_posted=a.credits_posted + 1) for a in accounts]
    with pytest.raises(LedgerBroken, match="the sums of"):
        check(richer, lines)
