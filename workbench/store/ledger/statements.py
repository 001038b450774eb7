"""The SQL statements of the payout service: see `store.statements`."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Table, and_, bindparam, func, or_, select, update

from workbench.core.payout import ACT, PayoutState
from workbench.core.ports import SlotState
from workbench.core.webhooks import DELIVERED
from workbench.store.ledger.schema import (
    PAYOUT,
    SUBJECT,
    TRANSFER,
    account,
    answer,
    delivery,
    payout,
    reconciliation,
    signer,
    transfer,
)
from workbench.store.schema import attempt, fact, slot
from workbench.store.statements import FACT, insert_into, upsert_into

IDS_PER_SELECT = 64
"""Ids in the IN list of one SELECT."""
MOVED = ("new_state", "new_tx", "new_reason", "new_batch", "new_place", "own", "old_state")
"""Parameters of `move_payouts`: the new values, then id and state of the payout to change."""

# --- Accounts and transfers ---


def account_by_id(dialect: str) -> Any:
    return select(account).where(account.c.id == bindparam("id"))


def all_accounts(dialect: str) -> Any:
    return select(account).order_by(account.c.id)


def add_account(dialect: str) -> Any:
    return insert_into(dialect, account, "id", "ledger", "no_overdraft")


def last_transfer(dialect: str) -> Any:
    newest = transfer.c.seq.desc()
    return select(transfer.c.seq, transfer.c.hash).order_by(newest).limit(1)


def add_transfer(dialect: str) -> Any:
    return insert_into(dialect, transfer, *TRANSFER)


def transfers_after(dialect: str, of_one: bool, limited: bool) -> Any:
    query = select(transfer).where(transfer.c.seq > bindparam("after")).order_by(transfer.c.seq)
    if of_one:
        its: Any = bindparam("account")
        query = query.where(or_(transfer.c.debit == its, transfer.c.credit == its))
    return query.limit(bindparam("limit")) if limited else query


# --- Payouts ---


def payout_by_id(dialect: str) -> Any:
    return select(*PAYOUT).where(payout.c.id == bindparam("id"))


def payouts_by_id(dialect: str) -> Any:
    ids: list[Any] = [bindparam(f"id_{n}") for n in range(IDS_PER_SELECT)]
    return select(*PAYOUT).where(payout.c.id.in_(ids))


def add_payout(dialect: str) -> Any:
    return insert_into(dialect, payout, *(column.name for column in PAYOUT))


def update_payout(dialect: str) -> Any:
    changed: Any = {column.name: bindparam(f"new_{column.name}") for column in PAYOUT}
    return update(payout).where(payout.c.id == bindparam("id")).values(changed)


def move_payouts(dialect: str) -> Any:
    """Update a payout if it is still in the state in which it was read."""
    as_it_was = and_(payout.c.id == bindparam("own"), payout.c.state == bindparam("old_state"))
    names = [name.removeprefix("new_") for name in MOVED[:5]]
    changed: Any = {name: bindparam(f"new_{name}") for name in names}
    return update(payout).where(as_it_was).values(changed)


def payouts_where(
    dialect: str, states: int, of_user: bool, of_tx: bool, of_batch: bool, limited: bool
) -> Any:
    """Return payouts, oldest first; those of one user, newest first."""
    query = select(*PAYOUT).order_by(payout.c.at_ms, payout.c.id)
    if of_user:
        own = payout.c.user_id == bindparam("user_id")
        query = select(*PAYOUT).where(own).order_by(payout.c.at_ms.desc(), payout.c.id.desc())
    if of_batch:
        query = query.where(payout.c.batch == bindparam("batch"))
    if of_tx:
        query = query.where(payout.c.tx == bindparam("tx"))
    if states:
        wanted = (payout.c.state == bindparam(f"state_{n}") for n in range(states))
        query = query.where(or_(*wanted))
    return query.limit(bindparam("limit")) if limited else query


def final_payouts(dialect: str) -> Any:
    """Return the sent payouts whose nonce is used in a final block; by nonce, then by attempt."""
    theirs = and_(slot.c.subject == SUBJECT, slot.c.act == ACT, slot.c.attempt == 1)
    tried = and_(*(attempt.c[n] == slot.c[n] for n in ("chain_id", "signer", "nonce")))
    ready = and_(payout.c.state == PayoutState.SENT.value, slot.c.state == SlotState.FINAL.value)
    own = and_(*(slot.c[n] == bindparam(n) for n in ("chain_id", "signer")))
    query = select(*PAYOUT, slot, attempt.c.tx, attempt.c.raw)
    query = query.select_from(payout).join(slot, theirs).join(attempt, tried)
    return query.where(own, ready).order_by(slot.c.nonce, payout.c.place, attempt.c.n)


def free_payouts(dialect: str) -> Any:
    """Return the approved payouts that no process has reserved, oldest first."""
    its = payout.c
    free = and_(its.taken_ms <= bindparam("now"), its.again_ms <= bindparam("now"))
    query = select(*PAYOUT).where(its.state == PayoutState.APPROVED.value, free)
    return query.order_by(its.at_ms, its.id).limit(bindparam("limit"))


def take_payouts(dialect: str) -> Any:
    """Reserve free payouts. Those that another process is reserving now are skipped."""
    free = free_payouts(dialect).with_for_update(skip_locked=True).cte("turn")
    taken = update(payout).where(payout.c.id.in_(select(free.c.id)))
    return taken.values(taken_ms=bindparam("until")).returning(*PAYOUT)


def give_back(dialect: str) -> Any:
    its = and_(payout.c.id == bindparam("own"), payout.c.state == PayoutState.APPROVED.value)
    return update(payout).where(its).values(taken_ms=0, again_ms=bindparam("again"))


def count_nonces(dialect: str) -> Any:
    sent = payout.c.state == PayoutState.SENT.value
    return select(func.count(SUBJECT.distinct())).select_from(payout).where(sent)


def count_unmined(dialect: str) -> Any:
    own = and_(*(slot.c[n] == bindparam(n) for n in ("chain_id", "signer")))
    unmined = or_(*(slot.c.state == s.value for s in (SlotState.SIGNED, SlotState.SENT)))
    return select(func.count()).select_from(slot).where(own, unmined)


def count_taken(dialect: str) -> Any:
    its = payout.c
    taken = and_(its.state == PayoutState.APPROVED.value, its.taken_ms > bindparam("at_ms"))
    return select(func.count()).select_from(payout).where(taken)


def count_payouts(dialect: str) -> Any:
    return select(payout.c.state, func.count()).group_by(payout.c.state)


def _sum_of_credits() -> tuple[Any, Any]:
    """Return the sum of credits in two parts (billions, rest): SQLite's sum stops at 2^63."""
    return func.sum(payout.c.credits // 10**9), func.sum(payout.c.credits % 10**9)


def backlog(dialect: str, states: tuple[str, ...]) -> Any:
    sums = select(func.count(), *_sum_of_credits(), func.min(payout.c.at_ms))
    return sums.where(or_(*(payout.c.state == state for state in states)))


def credits_since(dialect: str, of_user: bool, of_address: bool) -> Any:
    given_back = or_(
        *(payout.c.state == state.value for state in (PayoutState.REFUNDED, PayoutState.CANCELLED))
    )
    where = [payout.c.at_ms > bindparam("at_ms"), ~given_back]
    if of_user:
        where.append(payout.c.user_id == bindparam("user_id"))
    if of_address:
        where.append(payout.c.address == bindparam("address"))
    return select(*_sum_of_credits()).where(and_(*where))


# --- Facts and attempts ---


def facts_by_subject(dialect: str) -> Any:
    ids: list[Any] = [bindparam(f"id_{n}") for n in range(IDS_PER_SELECT)]
    query = select(fact.c.subject, fact.c.data).where(fact.c.subject.in_(ids))
    return query.order_by(fact.c.seq)


def journal(dialect: str) -> Any:
    return select(*(fact.c[name] for name in FACT)).order_by(fact.c.seq)


def all_attempts(dialect: str) -> Any:
    return select(attempt.c.tx, attempt.c.raw).order_by(attempt.c.tx)


def _webhook_facts(*columns: Any) -> Any:
    is_wanted = or_(*(fact.c.type == name for name in sorted(DELIVERED)))
    query = select(*columns).where(fact.c.seq > bindparam("after"), is_wanted)
    return query.order_by(fact.c.seq).limit(bindparam("limit"))


def webhook_facts(dialect: str) -> Any:
    return _webhook_facts(fact.c.seq, fact.c.data)


def count_webhook_facts(dialect: str) -> Any:
    return select(func.count()).select_from(_webhook_facts(fact.c.seq).subquery())


# --- Idempotency keys, signers, reconciliations, webhook subscribers ---


def answer_by_key(dialect: str) -> Any:
    this = and_(answer.c.scope == bindparam("scope"), answer.c.key == bindparam("key"))
    return select(answer.c.fingerprint, answer.c.status, answer.c.body).where(this)


def add_answer(dialect: str) -> Any:
    return insert_into(dialect, answer, *(column.name for column in answer.columns))


def signer_by_address(dialect: str, locked: bool) -> Any:
    own = (signer.c[name] == bindparam(name) for name in ("chain_id", "address"))
    row = select(signer.c.first_nonce, signer.c.quarantine).where(and_(*own))
    return row.with_for_update() if locked else row


def put_signer(dialect: str) -> Any:
    return _put(dialect, signer, "chain_id", "address")


def last_reconciliation(dialect: str) -> Any:
    newest = reconciliation.c.block.desc()
    return select(reconciliation.c.block, reconciliation.c.data).order_by(newest).limit(1)


def put_reconciliation(dialect: str) -> Any:
    return _put(dialect, reconciliation, "block")


def delivery_by_endpoint(dialect: str) -> Any:
    return select(delivery).where(delivery.c.endpoint == bindparam("endpoint"))


def put_delivery(dialect: str) -> Any:
    return _put(dialect, delivery, "endpoint")


def _put(dialect: str, table: Table, *own: str) -> Any:
    return upsert_into(dialect, table, [column.name for column in table.columns], own)
