"""Audit of the payout database: rows, facts, holds, answers and signed bytes.

The lines of the ledger are a hash chain (`core.ledger.check`). Everything else that decides where
money goes is compared here with those lines and with the journal. So an edited row is found.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition, LedgerBroken, WorkbenchError
from workbench.core.facts import Event, fact_id, from_line
from workbench.core.ledger import LedgerTransfer, TransferKind
from workbench.core.payout import ENDED, Payout, PayoutState, fold, request_digest
from workbench.core.ports import Attempt, IdempotentAnswer, Slot, StoredFact
from workbench.services.payouts import accounts
from workbench.services.payouts.input import PayoutInput

JsonObject = dict[str, Any]


def check_payouts(
    rows: Sequence[Payout], facts: Sequence[Event], lines: Sequence[LedgerTransfer]
) -> None:
    """Raise LedgerBroken for the first payout that differs from its facts or its hold."""
    try:
        told = fold(facts)
    except IllegalTransition as why:
        raise LedgerBroken(f"the journal contradicts itself: {why}") from why
    stored = {row.id: row for row in rows}
    for identity in sorted(told.keys() | stored.keys()):
        if identity not in stored:
            raise LedgerBroken(f"payout {identity} is in the journal and not in its table.")
        if identity not in told:
            raise LedgerBroken(f"payout {identity} is in its table and not in the journal.")
        for name in Payout.__slots__:
            kept, meant = getattr(stored[identity], name), getattr(told[identity], name)
            if kept != meant:
                raise LedgerBroken(
                    f"payout {identity}: {name} is not what the journal says.",
                    hint="The database was changed. Nothing should be signed until this is clear.",
                )
    by_id = {line.id: line for line in lines}
    for payout in told.values():
        _check_hold(payout, by_id)
    holds = {line.ref for line in lines if line.kind is TransferKind.PENDING}
    for ref in sorted(holds - told.keys()):
        raise LedgerBroken(f"the ledger holds credits for payout {ref}, which is nowhere else.")


def _check_hold(payout: Payout, lines: Mapping[str, LedgerTransfer]) -> None:
    """Raise LedgerBroken unless the payout's hold fits its state."""
    hold = lines.get(payout.hold_id)
    if payout.state is PayoutState.REQUESTED:
        return
    meant = (
        TransferKind.PENDING,
        accounts.user_account(payout.user_id),
        accounts.REDEEMED,
        payout.credits,
    )
    if hold is None or (hold.kind, hold.debit, hold.credit, hold.amount) != meant:
        raise LedgerBroken(f"payout {payout.id}: its credits are not held as it says.")
    # Holds of older versions have the reason "payout" and no digest of the request.
    if hold.reason not in ("payout", f"payout {request_digest(payout)}"):
        raise LedgerBroken(f"payout {payout.id}: the ledger's hold is of another request.")
    end = {PayoutState.PAID: TransferKind.POST}.get(
        payout.state, TransferKind.VOID if payout.state in ENDED else None
    )
    for kind in (TransferKind.POST, TransferKind.VOID):
        if (f"{payout.id}/{kind.value}" in lines) != (kind is end):
            raise LedgerBroken(f"payout {payout.id} is {payout.state.value}, and its hold is not.")


def check_journal(journal: Sequence[StoredFact]) -> list[Event]:
    """Return all facts, after each is proved to match the hash in its id.

    Raises LedgerBroken for the first that does not, or whose indexed type, subject or block differs
    from its content.
    """
    facts, orphaned = [], Counter[str]()
    for written in journal:
        try:
            fact = from_line(written.line)
        except (WorkbenchError, ValueError, TypeError, LookupError) as why:
            raise LedgerBroken(f"fact {written.id} cannot be read: {why}.") from why
        block = fact.block.hash if fact.block else None
        known = (written.type, written.subject, written.block_hash)
        about = block or fact.subject  # See `core.facts` for facts of an orphaned block.
        ids = {fact_id(fact, times) for times in range(orphaned[about] + 1)}
        if known != (fact.type, fact.subject, block) or written.id not in ids:
            raise LedgerBroken(f"fact {written.id} about {fact.subject} is not what was written.")
        orphaned[fact.subject] += isinstance(fact, ev.BlockOrphaned)
        facts.append(fact)
    return facts


def check_answer(payout: Payout, answered: IdempotentAnswer | None) -> None:
    """Raise LedgerBroken if the key of a payout is answered with another payout or not at all: a
    client that repeats its request would be paid twice."""
    body = _answered(payout.user_id, payout.credits, payout.address, answered)
    if body.get("id") != payout.id:
        raise LedgerBroken(f"payout {payout.id}: its idempotency key does not answer with it.")


def check_earned(
    line: LedgerTransfer, facts: Mapping[str, Event], answered: IdempotentAnswer | None
) -> None:
    """Raise LedgerBroken if credits were issued without a fact, or if a repeated request would
    issue them again. `facts`: by subject."""
    user_id, fact = line.credit.removeprefix(accounts.user_account("")), facts.get(line.id)
    known = isinstance(fact, ev.CreditsEarned) and (fact.user_id, fact.credits)
    if known != (user_id, line.amount):
        raise LedgerBroken(f"the ledger's line {line.id} gives credits, and the journal does not.")
    body = _answered(user_id, line.amount, "", answered)
    if (body.get("user_id"), body.get("earned")) != known:
        raise LedgerBroken(f"the ledger's line {line.id}: its key does not answer with it.")


def _answered(
    user_id: str, credits: int, address: str, answered: IdempotentAnswer | None
) -> JsonObject:
    """Return the stored answer to this request, or an empty object."""
    asked = PayoutInput(user_id, credits, "", address)
    if answered is None or answered.fingerprint != asked.fingerprint:
        return {}
    try:
        body = json.loads(answered.body)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def check_slots(
    payouts: Sequence[Payout], facts: Sequence[Event], slots: Mapping[tuple[str, int], Slot]
) -> None:
    """Raise LedgerBroken if a payout was sent with a nonce that does not belong to it.

    `slots`: by signer and nonce. Without its slot a payout would never end.
    """
    stored = {payout.id: payout for payout in payouts}
    for fact in facts:
        if isinstance(fact, ev.PayoutSent):
            payout, slot = stored[fact.subject], slots.get((fact.signer, fact.nonce))
            key = (slot.subject, slot.act, slot.attempt) if slot else None
            txs = [attempt.tx for attempt in slot.attempts] if slot else []
            # A person may have resolved it without a transaction of ours.
            if key != payout.act_key or fact.tx not in txs or payout.tx not in ("", *txs):
                raise LedgerBroken(f"payout {payout.id}: nonce {fact.nonce} is not its own.")


def check_attempts(attempts: Sequence[Attempt], hash_of: Callable[[str], str]) -> None:
    """Raise LedgerBroken if stored bytes do not have the transaction hash that is stored with
    them."""
    for attempt in attempts:
        if hash_of(attempt.raw) != attempt.tx:
            raise LedgerBroken(f"the stored bytes of transaction {attempt.tx} are not its own.")
