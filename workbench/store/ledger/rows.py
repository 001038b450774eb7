"""Convert rows of the ledger's tables to records, and records to rows."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from operator import itemgetter
from typing import Any

from workbench.core.errors import StoreError
from workbench.core.ledger import Account, LedgerTransfer, TransferKind
from workbench.core.payout import Payout, PayoutState
from workbench.core.ports import Slot
from workbench.core.webhooks import WebhookDelivery
from workbench.store.ledger.schema import PAYOUT, TRANSFER, delivery
from workbench.store.rows import slots_of

STATES = {state.value: state for state in PayoutState}


def record_row(record: Any) -> dict[str, Any]:
    """Return the fields of a record by name. All are plain values, so nothing is copied."""
    return {name: getattr(record, name) for name in record.__slots__}


def account_of(row: Any) -> Account:
    """Return the account of a row of `account`."""
    identity, ledger, no_overdraft, *sums = row
    return Account(identity, ledger, bool(no_overdraft), *(int(each) for each in sums))


def transfer_of(row: Any) -> LedgerTransfer:
    """Return the transfer of a row of `transfer`."""
    known = dict(zip(TRANSFER, row, strict=True))
    for name in ("seq", "previous", "hash"):
        known.pop(name)
    return LedgerTransfer(
        **{**known, "kind": TransferKind(known["kind"]), "amount": int(known["amount"])}
    )


def payout_of(row: Any) -> Payout:
    """Return the payout of a row of the columns `PAYOUT`. Raises StoreError if it is damaged.

    It reads the columns by position, which is faster than by name: thousands are read in a row.
    """
    own, user_id, key, address, credits_, units, asset, state, *rest = row
    try:
        known, amount = STATES[state], int(units)
    except (LookupError, ValueError) as why:
        raise StoreError(f"payout {own}: its state or its units cannot be read.") from why
    return Payout(own, known, user_id, key, address, credits_, amount, asset, *rest)


def payouts_with_slots(rows: Iterable[Any]) -> list[tuple[Payout, Slot]]:
    """Return (payout, slot) of rows: the columns `PAYOUT`, then those of `store.rows.slots_of`.

    A payout has one row for each attempt of its slot.
    """
    own, found = len(PAYOUT), []
    for _, group in groupby(rows, key=itemgetter(0)):
        attempts = list(group)
        (slot,) = slots_of(row[own:] for row in attempts)
        found.append((payout_of(attempts[0][:own]), slot))
    return found


def delivery_of(row: Any) -> WebhookDelivery:
    """Return the progress of a subscriber of a row of `delivery`."""
    known = dict(zip((column.name for column in delivery.columns), row, strict=True))
    return WebhookDelivery(**{**known, "is_gone": bool(known["is_gone"])})
