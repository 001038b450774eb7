"""The database itself enforces the rules of double entry, on SQLite and PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc

from tests import postgres
from tests.store.ledger.ledgers import BIG, account, begin, line, payout, sql, whole, within
from workbench.core.errors import InsufficientCredits, LedgerRefused, StoreError, WorkbenchError
from workbench.core.ledger import MAX_AMOUNT, TransferKind, resolved
from workbench.core.ports import Attempt, IdempotentAnswer, Slot, SlotState
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.unit import LedgerUnit


def test_amounts_beyond_64_bits_are_exact(store: LedgerStore) -> None:
    """Sums, comparisons and results, above 2^63."""
    begin(store)
    hold = line("hold", "user", "redeemed", 3 * BIG - 1, TransferKind.PENDING)
    within(store, lambda unit: unit.transfer(hold))
    assert (3 * BIG, 1) == (account(store, "user").balance, account(store, "user").available)
    with pytest.raises(InsufficientCredits):
        within(store, lambda unit: unit.transfer(line("over", "user", "redeemed", 2)))
    within(store, lambda unit: unit.transfer(line("last", "user", "redeemed", 1)))
    within(store, lambda unit: unit.transfer(resolved(hold, "post", TransferKind.POST, "paid", 2)))
    assert 3 * BIG == account(store, "redeemed").balance
    assert 0 == account(store, "user").balance
    assert 4 == whole(store)[0]


def test_a_sum_above_the_maximum_is_refused(store: LedgerStore) -> None:
    """It does not wrap around."""
    begin(store, MAX_AMOUNT)
    assert MAX_AMOUNT == account(store, "user").balance
    with pytest.raises((LedgerRefused, StoreError)):
        within(store, lambda unit: unit.transfer(line("one", "issuance", "user", 1)))
    assert 1 == whole(store)[0]


# --- What the database refuses, through any connection ---

INSERT = (
    "INSERT INTO transfer(seq, id, kind, debit, credit, amount, pending_id, reason, ref, at_ms,"
    " previous, hash) SELECT {seq}, '{id}', '{kind}', '{debit}', '{credit}', '{amount:036d}',"
    " {pending}, 'by hand', '', 1, hash, 'x' FROM transfer WHERE seq = 2"
)
"""A transfer as third line, after `begin` and one hold."""
PLAIN: dict[str, Any] = {
    "seq": 3, "id": "new", "kind": "posted", "debit": "user", "credit": "redeemed",
    "amount": 1, "pending": "NULL",
}  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {"amount": 10**30},
        {"amount": 0},
        {"credit": "user"},
        {"credit": "wallet"},
        {"credit": "nobody"},
        {"debit": "nobody", "credit": "nobody2"},
        {"seq": 4},
        {"id": "hold"},
        {"kind": "gift"},
        {"kind": "pending", "amount": 10**30},
        {"kind": "post", "pending": "'hold'"},
        {"kind": "post", "pending": "'earned'"},
        {"kind": "posted", "pending": "'hold'"},
        {"kind": "void"},
    ],
    ids=str,
)
def test_a_wrong_insert_is_refused(store: LedgerStore, change: dict[str, Any]) -> None:
    """Plain SQL cannot break a rule of double entry; nothing changes."""
    begin(store)
    hold = line("hold", "user", "redeemed", 7, TransferKind.PENDING)
    within(store, lambda unit: unit.transfer(hold))
    before = whole(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, INSERT.format(**{**PLAIN, **change}))
    assert before == whole(store)


def test_the_same_insert_without_the_mistake_is_accepted(store: LedgerStore) -> None:
    """So the test above is refused for its mistake; the chain of hashes finds this insert."""
    begin(store)
    hold = line("hold", "user", "redeemed", 7, TransferKind.PENDING)
    within(store, lambda unit: unit.transfer(hold))
    sql(store, INSERT.format(**PLAIN))
    with pytest.raises(WorkbenchError, match="line 3 is not what was written"):
        whole(store)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE transfer SET reason = 'nothing'",
        "UPDATE transfer SET amount = amount",
        "DELETE FROM transfer",
        "DELETE FROM account",
        "UPDATE account SET no_overdraft = 0 WHERE id = 'user'",
        "UPDATE account SET id = 'other' WHERE id = 'user'",
        "DELETE FROM payout",
        "DELETE FROM answer",
        "UPDATE answer SET status = 200",
    ],
)
def test_written_rows_cannot_be_changed(store: LedgerStore, statement: str) -> None:
    """Updates and deletes of the ledger are refused."""
    begin(store)

    async def more(unit: LedgerUnit) -> None:
        await unit.put_payout(payout(1))
        await unit.answer("payout", "k", IdempotentAnswer("f", 202, "{}"), 1)

    within(store, more)
    before = whole(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, statement)
    assert before == whole(store)


@pytest.mark.parametrize("table", ["account", "transfer", "payout", "answer"])
def test_insert_or_replace_is_refused(tmp_path: Path, table: str) -> None:
    """SQLite deletes the old row without a DELETE trigger, so an INSERT trigger refuses it."""
    store = LedgerStore(f"sqlite:///{tmp_path / 'x.db'}")
    begin(store)

    async def more(unit: LedgerUnit) -> None:
        await unit.put_payout(payout(1))
        await unit.answer("payout", "k", IdempotentAnswer("f", 202, "{}"), 1)

    within(store, more)
    before = whole(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")
    assert before == whole(store)
    store.close()


@pytest.mark.skipif(postgres.MISSING, reason=postgres.WHY)
def test_truncate_is_refused(server: postgres.Cluster) -> None:
    """TRUNCATE of PostgreSQL fires no DELETE trigger of rows."""
    store = LedgerStore(server.fresh())
    begin(store)
    with pytest.raises(exc.DBAPIError):
        sql(store, "TRUNCATE transfer CASCADE")
    assert 1 == whole(store)[0]
    store.close()


def test_a_payout_stays_in_its_batch(store: LedgerStore) -> None:
    """The database refuses another batch, a place that is taken, and joining a signed batch."""
    for number in range(4):
        within(store, lambda unit, n=number: unit.put_payout(payout(n)))  # type: ignore[misc]
    sql(store, "UPDATE payout SET batch = 'b', place = 0 WHERE id = '0x00'")
    sql(store, "UPDATE payout SET batch = 'b', place = 1 WHERE id = '0x01'")
    sql(store, "UPDATE payout SET state = 'sent' WHERE id = '0x01'")
    slot = Slot(1, "s", 0, "b", "pay", 1, SlotState.SIGNED, (Attempt("0x1", "0x2"),))
    within(store, lambda unit: unit.put_slot(slot))
    for wrong in (
        "UPDATE payout SET batch = 'c' WHERE id = '0x00'",
        "UPDATE payout SET batch = '' WHERE id = '0x00'",
        "UPDATE payout SET place = 7 WHERE id = '0x00'",
        "UPDATE payout SET batch = 'b', place = 2 WHERE id = '0x02'",
    ):
        with pytest.raises(exc.SQLAlchemyError, match="a payout stays|no payout joins"):
            sql(store, wrong)
    sql(store, "UPDATE payout SET batch = 'c', place = 0 WHERE id = '0x02'")
    with pytest.raises(exc.SQLAlchemyError, match=r"(?i)unique"):
        sql(store, "UPDATE payout SET batch = 'c', place = 0 WHERE id = '0x03'")
