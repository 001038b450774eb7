"""A transaction on the payout service's database, as SQL statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from workbench.core.errors import InsufficientCredits, LedgerRefused, StateMoved
from workbench.core.facts import Event
from workbench.core.ledger import GENESIS, Account, LedgerTransfer, link
from workbench.core.payout import Payout, PayoutState
from workbench.core.ports import (
    Attempt,
    IdempotentAnswer,
    PayoutBacklog,
    SignerState,
    Slot,
    StoredFact,
)
from workbench.core.webhooks import WebhookDelivery
from workbench.store.ledger import statements
from workbench.store.ledger.rows import (
    account_of,
    delivery_of,
    payout_of,
    payouts_with_slots,
    record_row,
    transfer_of,
)
from workbench.store.ledger.schema import DIGITS, TRANSFER
from workbench.store.ledger.statements import IDS_PER_SELECT, MOVED
from workbench.store.rows import fact_of, slots_of
from workbench.store.sql.exclusive_unit import ExclusiveUnit
from workbench.store.sql.unit import SqlUnit
from workbench.store.statements import all_slots


class LedgerUnit(SqlUnit):
    """One transaction (`core.ports.Ledger`)."""

    # --- Accounts and transfers ---

    async def account(self, account_id: str) -> Account | None:
        """Return an account with its sums."""
        row = self._do(statements.account_by_id, id=account_id).fetchone()
        return account_of(row) if row else None

    async def accounts(self) -> Sequence[Account]:
        """Return all accounts, by id."""
        return [account_of(row) for row in self._do(statements.all_accounts).fetchall()]

    async def open_account(self, new: Account) -> None:
        """Insert an account; do nothing if it exists."""
        if await self.account(new.id) is not None:
            return
        self.changed = True
        row = {"id": new.id, "ledger": new.ledger, "no_overdraft": int(new.no_overdraft)}
        self._do(statements.add_account, **row)

    async def transfer(self, new: LedgerTransfer) -> None:
        """Append a transfer. Raises InsufficientCredits (overdraft) or LedgerRefused (a defect)."""
        await self.transfer_all([new])

    async def transfer_all(self, lines: Sequence[LedgerTransfer]) -> None:
        """Append transfers in this order; see `transfer`."""
        self.changed = True
        last = self._do(statements.last_transfer).fetchone()
        seq, previous = (last[0], last[1]) if last else (0, GENESIS)
        rows = []
        for new in lines:
            seq += 1
            linked = link(previous, seq, new)
            moved = (new.id, new.kind.value, new.debit, new.credit, self._units(new.amount))
            about = (new.pending_id, new.reason, new.ref, new.at_ms)
            rows.append((seq, *moved, *about, previous, linked))
            previous = linked
        try:
            self._add_all(statements.add_transfer, TRANSFER, rows)
        except self._store.errors as why:
            if self._store.is_transient(why):
                raise
            if "account_overdraft" in str(why):
                first = lines[0]
                text = f"{first.debit} has less than {first.amount} available."
                raise InsufficientCredits(text) from why
            named = ", ".join(new.id for new in lines)
            raise LedgerRefused(f"the ledger refused {named}: {why}.") from why

    async def transfers(
        self, after: int = 0, limit: int | None = None, account_id: str | None = None
    ) -> Sequence[tuple[int, str, LedgerTransfer]]:
        """Return (sequence number, hash, transfer) of the transfers after number `after`."""
        shape = (account_id is not None, limit is not None)
        named = {"after": after, "account": account_id, "limit": limit}
        rows = self._do(statements.transfers_after, *shape, **named)
        return [(row[0], row[-1], transfer_of(row)) for row in rows.fetchall()]

    def _units(self, amount: int) -> Any:
        """Return an amount as the database stores it."""
        return f"{amount:0{DIGITS}d}" if self._store.dialect == "sqlite" else amount

    # --- Payouts ---

    async def payout(self, payout_id: str) -> Payout | None:
        """Return a payout."""
        row = self._do(statements.payout_by_id, id=payout_id).fetchone()
        return payout_of(row) if row else None

    async def payouts_of(self, payout_ids: Sequence[str]) -> dict[str, Payout]:
        """Return the known payouts by id."""
        found: dict[str, Payout] = {}
        for ids in _by_parts(payout_ids):
            rows = self._do(statements.payouts_by_id, **ids).fetchall()
            found |= {row[0]: payout_of(row) for row in rows}
        return found

    async def payouts(
        self,
        *states: PayoutState,
        user_id: str | None = None,
        tx: str | None = None,
        batch: str | None = None,
        limit: int | None = None,
    ) -> Sequence[Payout]:
        """Return payouts in these states (none: all), oldest first; of one user, newest first."""
        named: dict[str, Any] = {f"state_{n}": state.value for n, state in enumerate(states)}
        shape = (len(states), *(each is not None for each in (user_id, tx, batch, limit)))
        named |= {"user_id": user_id, "tx": tx, "batch": batch, "limit": limit}
        rows = self._do(statements.payouts_where, *shape, **named)
        return [payout_of(row) for row in rows.fetchall()]

    async def put_payout(self, changed: Payout) -> None:
        """Insert or replace a payout."""
        self.changed = True
        row = {**record_row(changed), "state": changed.state.value}
        row["units"] = self._units(changed.units)
        # Not INSERT OR REPLACE: triggers refuse to replace a row.
        new = {f"new_{name}": value for name, value in row.items()}
        updated = self._do(statements.update_payout, **new, id=changed.id)
        if not updated.rowcount:
            self._do(statements.add_payout, **row)

    async def move_payouts(self, moves: Sequence[tuple[Payout, Payout]]) -> None:
        """Replace (before, after) pairs. Raises StateMoved if a stored one is in another state."""
        if not moves:
            return
        self.changed = True
        rows = [
            (now.state.value, now.tx, now.reason, now.batch, now.place, was.id, was.state.value)
            for was, now in moves
        ]
        moved = self._do_all(statements.move_payouts, MOVED, rows).rowcount
        if moved != len(rows):
            raise StateMoved(
                f"the state of {len(rows) - moved} of {len(rows)} payouts has changed."
            )

    async def final_payouts(
        self, chain_id: int, signer_address: str
    ) -> Sequence[tuple[Payout, Slot]]:
        """Return the open payouts whose nonce is used in a final block, with their slots."""
        rows = self._do(statements.final_payouts, chain_id=chain_id, signer=signer_address)
        return payouts_with_slots(rows.fetchall())

    async def take_payouts(self, now_ms: int, until_ms: int, limit: int) -> Sequence[Payout]:
        """Reserve approved payouts, oldest first, until `until_ms` (Unix milliseconds)."""
        if self._store.dialect == "sqlite":  # Only one process signs, so nothing is reserved.
            rows = self._do(statements.free_payouts, now=now_ms, limit=limit)
        else:
            rows = self._do(statements.take_payouts, now=now_ms, until=until_ms, limit=limit)
        taken = [payout_of(row) for row in rows.fetchall()]
        return sorted(taken, key=lambda payout: (payout.at_ms, payout.id))

    async def give_back(self, payout_ids: Sequence[str], again_ms: int) -> None:
        """Release reserved payouts that were not signed. They are free again at `again_ms`."""
        if self._store.dialect != "sqlite" or again_ms:
            for payout_id in payout_ids:
                self._do(statements.give_back, again=again_ms, own=payout_id)

    async def count_nonces(self) -> int:
        """Count the nonces of open payouts. The payouts of a batch share one."""
        return int(self._do(statements.count_nonces).fetchone()[0])

    async def count_unmined(self, chain_id: int, signer_address: str) -> int:
        """Count the signed nonces that are in no block, including those after a reorg."""
        counted = self._do(statements.count_unmined, chain_id=chain_id, signer=signer_address)
        return int(counted.fetchone()[0])

    async def count_taken(self, at_ms: int) -> int:
        """Count the payouts that are reserved beyond `at_ms`."""
        return int(self._do(statements.count_taken, at_ms=at_ms).fetchone()[0])

    async def count_payouts(self) -> dict[PayoutState, int]:
        """Count the payouts in each state."""
        counted = dict(self._do(statements.count_payouts).fetchall())
        return {state: counted.get(state.value, 0) for state in PayoutState}

    async def backlog(self, *states: PayoutState) -> PayoutBacklog:
        """Return the totals of the payouts in these states."""
        row = self._do(statements.backlog, tuple(state.value for state in states)).fetchone()
        count, high, low, oldest = row
        return PayoutBacklog(count, _sum(high, low), oldest)

    async def credits_since(
        self, at_ms: int, *, user_id: str | None = None, address: str | None = None
    ) -> int:
        """Sum the credits of payouts requested after `at_ms` and not given back."""
        shape = (user_id is not None, address is not None)
        named = {"at_ms": at_ms, "user_id": user_id, "address": address}
        return _sum(*self._do(statements.credits_since, *shape, **named).fetchone())

    # --- Facts, slots and attempts ---

    async def facts_of(self, payout_ids: Sequence[str]) -> dict[str, list[Event]]:
        """Return all facts of each payout, in journal order."""
        found: dict[str, list[Event]] = {each: [] for each in payout_ids}
        for ids in _by_parts(payout_ids):
            for subject, line in self._do(statements.facts_by_subject, **ids).fetchall():
                found[subject].append(fact_of(line))
        return found

    async def to_tell(self, after: int, limit: int) -> Sequence[tuple[int, Event]]:
        """Return (sequence number, fact) of facts for webhook subscribers, after `after`."""
        rows = self._do(statements.webhook_facts, after=after, limit=limit)
        return [(seq, fact_of(line)) for seq, line in rows.fetchall()]

    async def count_to_tell(self, after: int, limit: int) -> int:
        """Count the facts of `to_tell`, up to `limit`."""
        counted = self._do(statements.count_webhook_facts, after=after, limit=limit)
        return int(counted.fetchone()[0])

    async def journal(self) -> Sequence[StoredFact]:
        """Return all facts as they are stored, in order."""
        return [StoredFact(*row) for row in self._do(statements.journal).fetchall()]

    async def all_slots(self) -> dict[tuple[str, int], Slot]:
        """Return the slots of all signers, by signer and nonce."""
        slots = slots_of(self._do(all_slots).fetchall())
        return {(each.signer, each.nonce): each for each in slots}

    async def attempts(self) -> Sequence[Attempt]:
        """Return all signed transactions, by hash."""
        return [Attempt(tx, raw) for tx, raw in self._do(statements.all_attempts).fetchall()]

    # --- Idempotency keys, signers, reconciliations, webhook subscribers ---

    async def answered(self, scope: str, key: str) -> IdempotentAnswer | None:
        """Return the answer under an idempotency key."""
        row = self._do(statements.answer_by_key, scope=scope, key=key).fetchone()
        return IdempotentAnswer(*row) if row else None

    async def answer(self, scope: str, key: str, answered: IdempotentAnswer, at_ms: int) -> None:
        """Store the permanent answer under an idempotency key."""
        self.changed = True
        named = {"scope": scope, "key": key, "at_ms": at_ms}
        self._do(statements.add_answer, **named, **record_row(answered))

    async def signer(
        self, chain_id: int, address: str, *, locked: bool = False
    ) -> SignerState | None:
        """Return a signer. `locked`: other `locked` reads wait until this transaction ends."""
        named = {"chain_id": chain_id, "address": address}
        row = self._do(statements.signer_by_address, locked, **named).fetchone()
        return SignerState(*row) if row else None

    async def put_signer(self, chain_id: int, address: str, standing: SignerState) -> None:
        """Insert or replace a signer."""
        self.changed = True
        named = {"chain_id": chain_id, "address": address}
        self._do(statements.put_signer, **named, **record_row(standing))

    async def reconciled(self) -> tuple[int, str] | None:
        """Return block and result (JSON) of the newest reconciliation."""
        row = self._do(statements.last_reconciliation).fetchone()
        return (row[0], row[1]) if row else None

    async def reconcile(self, block: int, at_ms: int, data: str) -> None:
        """Store the result of a reconciliation."""
        self.changed = True
        self._do(statements.put_reconciliation, block=block, at_ms=at_ms, data=data)

    async def delivery(self, endpoint: str) -> WebhookDelivery | None:
        """Return the progress of a webhook subscriber."""
        row = self._do(statements.delivery_by_endpoint, endpoint=endpoint).fetchone()
        return delivery_of(row) if row else None

    async def put_delivery(self, changed: WebhookDelivery) -> None:
        """Insert or replace the progress of a webhook subscriber."""
        self.changed = True
        row = {**record_row(changed), "is_gone": int(changed.is_gone)}
        self._do(statements.put_delivery, **row)


class ExclusiveLedgerUnit(ExclusiveUnit, LedgerUnit):
    """The same on a database that no other process can reach (`ExclusiveUnit`)."""


def _by_parts(ids: Sequence[str]) -> Iterator[dict[str, str]]:
    """Yield the parameters of one SELECT after the other; the last id fills unused parameters."""
    for first in range(0, len(ids), IDS_PER_SELECT):
        part = ids[first : first + IDS_PER_SELECT]
        filled = [*part, *[part[-1]] * (IDS_PER_SELECT - len(part))]
        yield {f"id_{n}": each for n, each in enumerate(filled)}


def _sum(high: Any, low: Any) -> int:
    """Return the sum of the two parts of `statements.credits_since`; None is 0."""
    return int(high or 0) * 10**9 + int(low or 0)
