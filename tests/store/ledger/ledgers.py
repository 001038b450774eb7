"""Helpers for tests of the ledger's database: units of work, transfers, payouts, plain SQL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import text

from workbench.core.ledger import Account, LedgerTransfer, TransferKind, check
from workbench.core.payout import Payout, PayoutState
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.unit import LedgerUnit

T = TypeVar("T")
BIG = 2**63
Work = Callable[[LedgerUnit], Coroutine[Any, Any, T]]


def within(store: LedgerStore, work: Work[T]) -> T:
    """Run `work` in a unit, commit, and return its result."""

    async def do() -> T:
        async with store.unit() as unit:
            return await work(unit)

    return asyncio.run(do())


def line(
    identity: str, debit: str, credit: str, amount: int, kind: TransferKind = TransferKind.POSTED
) -> LedgerTransfer:
    """Return a transfer."""
    return LedgerTransfer(
        id=identity, kind=kind, debit=debit, credit=credit, amount=amount, reason="test", at_ms=1
    )


def begin(store: LedgerStore, amount: int = 3 * BIG) -> None:
    """Open the accounts, and give the user this many credits."""

    async def work(unit: LedgerUnit) -> None:
        for name in ("issuance", "redeemed"):
            await unit.open_account(Account(name, "credit", no_overdraft=False))
        await unit.open_account(Account("user", "credit"))
        await unit.open_account(Account("wallet", "wei", no_overdraft=False))
        await unit.transfer(line("earned", "issuance", "user", amount))

    within(store, work)


def sql(store: LedgerStore, statement: str) -> None:
    """Execute SQL directly, as a person with the database's password could."""
    with store._engine.begin() as connection:
        connection.execute(text(statement))


def whole(store: LedgerStore) -> tuple[int, str]:
    """Check all accounts and transfers. Return the number of transfers and the last hash."""

    async def work(unit: LedgerUnit) -> tuple[int, str]:
        return check(await unit.accounts(), await unit.transfers())

    return within(store, work)


def account(store: LedgerStore, name: str) -> Account:
    """Return an account that exists."""
    found = within(store, lambda unit: unit.account(name))
    assert found is not None
    return found


def payout(number: int, **changes: Any) -> Payout:
    """Return an approved payout. `changes`: other values of its fields."""
    plain = Payout(
        f"0x{number:02x}", PayoutState.APPROVED, user_id="u", key=f"k{number}", address="0xab",
        credits=2**53 - 1, units=BIG * number, asset="eip155:1/native", at_ms=number,
    )  # fmt: skip
    return replace(plain, **changes)
