"""A ledger is upgraded when it is opened, with all that is in it."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from tests.store.ledger.ledgers import begin, payout, sql, whole, within
from workbench.core.errors import StoreError
from workbench.core.ledger import Account
from workbench.core.webhooks import WebhookDelivery
from workbench.store.ledger.database import LedgerStore
from workbench.store.ledger.unit import LedgerUnit


def test_a_reopened_ledger_is_the_same(url: str) -> None:
    """The schema is upgraded once."""
    first = LedgerStore(url)
    begin(first)
    before = whole(first)
    first.close()
    second = LedgerStore(url)
    assert before == whole(second)
    second.close()


def unbatch(store: LedgerStore) -> None:
    """Change the schema back to the version before batches."""
    on = "" if store.dialect == "sqlite" else " ON payout"
    sql(store, f"DROP TRIGGER payout_together{on}")
    if on:
        sql(store, "DROP FUNCTION payout_together()")
    sql(store, "DROP TABLE user_alias")
    sql(store, "DROP INDEX payout_batch")
    sql(store, "DROP INDEX payout_taken")
    for column in ("batch", "place", "taken_ms", "again_ms"):
        sql(store, f"ALTER TABLE payout DROP COLUMN {column}")


def test_a_ledger_without_batches_is_upgraded(url: str) -> None:
    """Its payouts are read with no batch."""
    first = LedgerStore(url)
    within(first, lambda unit: unit.put_payout(payout(1)))
    unbatch(first)
    sql(first, "UPDATE alembic_version SET version_num = '0002'")
    first.close()
    second = LedgerStore(url)
    assert payout(1) == within(second, lambda unit: unit.payout("0x01"))
    second.close()


def test_a_ledger_without_webhooks_is_upgraded(url: str) -> None:
    """Accounts and transfers stay; the progress of subscribers can be stored."""
    first = LedgerStore(url)
    begin(first)
    before = whole(first)
    unbatch(first)
    sql(first, "DROP TABLE delivery")
    sql(first, "UPDATE alembic_version SET version_num = '0001'")
    first.close()
    second = LedgerStore(url)
    assert before == whole(second)
    at = WebhookDelivery("e", 2**62, 3, 4, 5, True, "gone")

    async def work(unit: LedgerUnit) -> WebhookDelivery | None:
        await unit.put_delivery(WebhookDelivery("e", 1))
        await unit.put_delivery(at)
        assert await unit.delivery("f") is None
        return await unit.delivery("e")

    assert at == within(second, work)
    second.close()


def test_ids_of_users_that_are_not_in_nfc_keep_their_accounts(url: str) -> None:
    """Their transfers do not change; two ids with the same NFC form are refused."""
    composed, decomposed = "user:한글", "user:" + normalize("NFD", "한글")
    first = LedgerStore(url)
    within(first, lambda unit: unit.open_account(Account(decomposed, "credit")))
    within(first, lambda unit: unit.open_account(Account("user:plain", "credit")))
    older(first)
    second = LedgerStore(url)
    assert second.aliases == {composed[5:]: decomposed[5:]}
    within(second, lambda unit: unit.open_account(Account(composed, "credit")))
    older(second)
    with pytest.raises(StoreError, match="have the same id in Unicode form NFC") as refused:
        LedgerStore(url)
    for user_id in (composed, decomposed):
        assert ascii(user_id[5:]) in refused.value.message


def older(store: LedgerStore) -> None:
    """Change the schema back to the version before aliases, and close the ledger."""
    sql(store, "DROP TABLE user_alias")
    sql(store, "UPDATE alembic_version SET version_num = '0004'")
    store.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """The error says that a newer workbench made the database."""
    url = f"sqlite:///{tmp_path / 'x.db'}"
    store = LedgerStore(url)
    sql(store, "UPDATE alembic_version SET version_num = '9999'")
    store.close()
    with pytest.raises(StoreError, match="newer workbench"):
        LedgerStore(url)
