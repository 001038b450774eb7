"""Whether the database of payouts is what was written: each row, fact, hold, answer and signature.

The ledger's lines are a chain of hashes (`core.ledger.check`). Here everything that decides where
money goes is compared with those lines and with the journal, so that an edit of one is found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from workbench.core.errors import IllegalTransition, LedgerBroken
from workbench.core.events import Event
from workbench.core.ledger import Kind, Transfer
from workbench.core.payout import ENDED, Payout, State, fold, request_digest
from workbench.core.ports import Answered, Attempt
from workbench.services import accounts


def check_payouts(
    rows: Sequence[Payout], facts: Sequence[Event], lines: Sequence[Transfer]
) -> None:
    """Raise LedgerBroken for the first payout that is not what its facts and its hold say."""
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
    holds = {line.ref for line in lines if line.kind is Kind.PENDING}
    for ref in sorted(holds - told.keys()):
        raise LedgerBroken(f"the ledger holds credits for payout {ref}, which is nowhere else.")


def _check_hold(payout: Payout, lines: Mapping[str, Transfer]) -> None:
    hold = lines.get(payout.hold_id)
    if payout.state is State.REQUESTED:
        return
    meant = (Kind.PENDING, accounts.user_account(payout.user_id), accounts.REDEEMED, payout.credits)
    if hold is None or (hold.kind, hold.debit, hold.credit, hold.amount) != meant:
        raise LedgerBroken(f"payout {payout.id}: its credits are not held as it says.")
    # Holds of older versions say "payout" alone, and do not cover what was requested.
    if hold.reason not in ("payout", f"payout {request_digest(payout)}"):
        raise LedgerBroken(f"payout {payout.id}: the ledger's hold is of another request.")
    end = {State.PAID: Kind.POST}.get(payout.state, Kind.VOID if payout.state in ENDED else None)
    for kind in (Kind.POST, Kind.VOID):
        if (f"{payout.id}/{kind.value}" in lines) != (kind is end):
            raise LedgerBroken(f"payout {payout.id} is {payout.state.value}, and its hold is not.")


def check_answer(payout: Payout, answered: Answered | None) -> None:
    """Raise LedgerBroken where the payout's key would be answered with another payout, or with a
    new one: then whoever repeats the request is paid twice."""
    try:
        body = json.loads(answered.body) if answered else {}
    except ValueError:
        body = {}
    if not isinstance(body, dict) or body.get("id") != payout.id:
        raise LedgerBroken(f"payout {payout.id}: its idempotency key does not answer with it.")


def check_attempts(attempts: Sequence[Attempt], hash_of: Callable[[str], str]) -> None:
    """Raise LedgerBroken where stored bytes are not those of the transaction that they name."""
    for attempt in attempts:
        if hash_of(attempt.raw) != attempt.tx:
            raise LedgerBroken(f"the stored bytes of transaction {attempt.tx} are not its own.")
