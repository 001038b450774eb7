"""A settlement, folded from the facts of one emitter in journal order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from workbench.core import facts as ev
from workbench.core.errors import IllegalTransition, NonceTaken, StateMoved
from workbench.core.lifecycle import STAGE, contract_word, outcome_of
from workbench.core.records import copier, quick, replace
from workbench.core.settlement.table import (
    LATE,
    RELEVANT_EVENTS,
    TRANSITIONS,
    SettlementState,
    is_detail,
)


@quick
@dataclass(frozen=True, slots=True)
class StateEntry:
    """When a settlement entered a state."""

    state: SettlementState
    at_ms: int
    """Unix milliseconds."""
    block: ev.BlockRef | None
    """Block and transaction that caused it. None: off chain."""


@quick
@dataclass(frozen=True, slots=True)
class SettlementFailure:
    """Why an action on a settlement failed."""

    act: str
    """The action: `create`, `fund`, `swap`, `execute` or `refund`."""
    code: str
    """The stable code of the error."""
    message: str


@quick
@dataclass(frozen=True, slots=True)
class Settlement:
    """One settlement, folded from its facts. Amounts are in base units."""

    id: str
    """0x hex, 32 bytes."""
    state: SettlementState
    entered: tuple[StateEntry, ...] = ()
    """The states so far, in order."""
    buyer: str = ""
    seller: str = ""
    asset: str = ""
    """Address of the token that is sold."""
    asset_amount: int = 0
    required_usdc: int = 0
    """What the seller receives."""
    max_eurc: int = 0
    """The signed budget."""
    eurc_spent: int | None = None
    """What the swap took. None before the swap."""
    fund_deadline: int = 0
    """Unix seconds."""
    swap_deadline: int = 0
    """Unix seconds."""
    quote: str = ""
    """The salt of the terms."""
    reason: str = ""
    """Why it was refunded or rejected."""
    failure: SettlementFailure | None = None
    """Why the current state can never be left forward."""
    setback: SettlementFailure | None = None
    """The last mined revert of the action that reverted most often in the current state."""
    setbacks: int = 0
    """The number of these reverts; see `given_up` for the limit."""
    reverted: tuple[str, ...] = ()
    """The actions that were mined and reverted, in order."""

    def block_of(self, state: SettlementState) -> ev.BlockRef | None:
        """The block that caused `state`; None if there was none."""
        return next((e.block for e in self.entered if e.state is state), None)

    @property
    def status(self) -> str:
        """The status for clients: `pending`, `executed`, `refunded` or `rejected`."""
        outcome = outcome_of(self.state.value)
        return outcome.word if outcome.is_end else "pending"

    @property
    def contract_state(self) -> str:
        """The contract's state in lower case; see `lifecycle.CONTRACT_WORDS`."""
        return contract_word(self.state.value)

    def is_expired(self, now: int) -> bool:
        """True if the deadline of the current state is before `now` (Unix seconds)."""
        deadline = STAGE[self.state.value].deadline
        return bool(deadline) and now > int(getattr(self, deadline))

    def contract_word(self, now: int) -> str:
        """The contract's state at `now` (Unix seconds): as `contract_state`, or `expired`."""
        return "expired" if self.is_expired(now) else self.contract_state


DETAIL_EVENTS = {
    ev.PaymentAuthorized,
    ev.PaymentRejected,
    ev.SettlementCreated,
    ev.SettlementSwapped,
    ev.SettlementRefunded,
    ev.TransactionFailed,
}
"""Facts that change fields other than the state."""

RETRIES = 2
"""Default number of retries after a mined revert."""


def _changes(before: Settlement, event: ev.Event) -> dict[str, Any]:
    """Return the fields that a fact changes, except the state."""
    known: dict[str, Any] = {}
    if type(event) not in DETAIL_EVENTS:
        return known
    match event:
        case ev.PaymentAuthorized() | ev.SettlementCreated():
            for name in ("buyer", "seller", "asset", "asset_amount", "required_usdc", "max_eurc"):
                known[name] = getattr(event, name)
            if isinstance(event, ev.SettlementCreated):
                known |= {"fund_deadline": event.fund_deadline, "quote": event.salt}
                known |= {"swap_deadline": event.swap_deadline, "reason": ""}
            else:
                known["quote"] = event.quote
        case ev.SettlementSwapped():
            known["eurc_spent"] = event.eurc_spent
        case ev.SettlementRefunded():
            known["reason"] = event.reason
        case ev.PaymentRejected() if before.state is SettlementState.AUTHORIZED:
            known["reason"] = event.code
        case ev.TransactionFailed():
            known = _failed(before, event)
    return known


_move: Callable[..., Settlement] = copier(
    Settlement, ("state", "entered", "failure", "setback", "setbacks")
)


def _failed(before: Settlement, event: ev.TransactionFailed) -> dict[str, Any]:
    """Return the changed fields after a failed transaction."""
    failure = SettlementFailure(event.act, event.code, event.message)
    known: dict[str, Any] = {}
    if not event.transient:
        known["failure"] = failure
    if event.tx:
        known["reverted"] = (*before.reverted, event.act)
        count = known["reverted"].count(event.act)
        # Reorgs and races do not count: the action is simulated again on the new state.
        if event.code not in (StateMoved.code, NonceTaken.code) and count >= before.setbacks:
            known |= {"setback": failure, "setbacks": count}
    return known


def given_up(settlement: Settlement, retries: int = RETRIES) -> SettlementFailure | None:
    """Return why a settlement is refunded before its deadline; None if it is not.

    Either the action can never succeed, or it reverted more than `retries` times for a reason
    other than a race or a reorg.
    """
    return settlement.failure or (settlement.setback if settlement.setbacks > retries else None)


def apply(before: Settlement | None, event: ev.Event) -> Settlement:
    """Return the settlement after one more fact. This is the only place where one changes.

    Raises IllegalTransition if the fact cannot follow the state.
    """
    if before is not None and (is_detail(event) or (before.state, type(event)) in LATE):
        changed = _changes(before, event)
        return replace(before, **changed) if changed else before
    state = TRANSITIONS.get((before.state if before else None, type(event)))
    if state is None:
        was = before.state.value if before else "nothing"
        raise IllegalTransition(f"{event.subject}: {event.type} cannot follow {was}.")
    before = before or Settlement(event.subject, state)
    known = _changes(before, event)
    entered = (*before.entered, StateEntry(state, event.at_ms, event.block))
    # A failure belongs to the action of one state; the next state begins without one.
    return _move(replace(before, **known) if known else before, state, entered, None, None, 0)


def fold(facts: Iterable[ev.Event]) -> dict[str, Settlement]:
    """Return all settlements by id, from the facts that stand after reorgs, in journal order."""
    return fold_into({}, ev.canonical(list(facts)))


def fold_into(
    settlements: dict[str, Settlement], facts: Iterable[ev.Event]
) -> dict[str, Settlement]:
    """Continue `fold`: change and return `settlements`.

    Details that precede the creation are applied after it. After a reorg, an action may revert in
    an earlier block than the one that creates its settlement again.
    """
    early: dict[str, list[ev.Event]] = {}
    for event in facts:
        if type(event) not in RELEVANT_EVENTS or not event.subject:
            continue
        before = settlements.get(event.subject)
        if before is None and is_detail(event):
            early.setdefault(event.subject, []).append(event)
            continue
        for each in (event, *early.pop(event.subject, ())):
            before = apply(before, each)
        assert before is not None
        settlements[event.subject] = before
    return settlements
